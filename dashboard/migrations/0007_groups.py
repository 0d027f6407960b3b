"""Operators may change consents. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0006_groups"), ("providers", "0004_service"), ("tracking", "0019_console")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
