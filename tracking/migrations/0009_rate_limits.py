from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tracking", "0008_suppression_note"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="rate_limit",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests a minute; 0: any number. Empty: as many as RATE_LIMIT says.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="RateWindow",
            fields=[
                ("key", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(help_text="which minute since 1970")),
                ("taken", models.BigIntegerField(help_text="requests that processes have taken of it")),
            ],
            options={"db_table": "rate_window"},
        ),
        migrations.RunSQL(
            "ALTER TABLE rate_window SET (fillfactor = 50); ALTER TABLE rate_window SET UNLOGGED",
            migrations.RunSQL.noop,
        ),
    ]
