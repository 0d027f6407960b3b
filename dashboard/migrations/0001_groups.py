"""The groups viewer, operator and admin. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    # `make` works on what is installed, not on a state of the past: all that it looks at must be there
    dependencies = [
        ("auth", "__latest__"),
        ("contenttypes", "__latest__"),
        ("auditlog", "__latest__"),
        ("providers", "__latest__"),
        ("tracking", "__latest__"),
    ]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
