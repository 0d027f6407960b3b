"""Operators test, switch and replay webhooks. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0003_alerts"), ("tracking", "0006_webhooks")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
