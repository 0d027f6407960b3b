"""Groups are given what came since: alerts, webhooks, vendor codes. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0003_alerts"), ("providers", "0003_accounts"), ("tracking", "0008_suppression_note")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
