"""Groups are given what came since: consents and engagement. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0004_groups_know_more"), ("tracking", "0016_engagement")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
