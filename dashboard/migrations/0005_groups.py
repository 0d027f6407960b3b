"""Groups are given what came since: devices. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [
        ("dashboard", "0004_groups_know_more"),
        ("tracking", "0014_pushwoosh"),
    ]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
