"""Groups are given what came since: logins. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0004_groups_know_more"), ("providers", "0004_service"), ("tracking", "0013_fallback")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
