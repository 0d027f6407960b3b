"""Groups are given what came since: exports, retention, purges and erasures. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0005_webhook_alert"), ("tracking", "0011_retention")]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
