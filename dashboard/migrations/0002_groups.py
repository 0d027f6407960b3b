"""The groups viewer, operator and admin. The table stands in dashboard/groups.py."""

from django.db import migrations

from dashboard import groups


class Migration(migrations.Migration):
    # `make` works on the models that are installed, whichever of their tables are there already
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("dashboard", "0001_views_and_bulk"),
    ]

    operations = [migrations.RunPython(groups.make, migrations.RunPython.noop)]
