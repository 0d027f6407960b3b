"""Groups are given what came since: exports, retention, purges, erasures, logins, devices, channels, consents. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0005_webhook_alert"), ("providers", "0004_service"), ("tracking", "0016_engagement")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
