import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

COUNTERS = ("processing", "waiting_again")
TABLES = ("metric_minute", "metric_quarter", "metric_hour", "metric_block")


def columns(step):
    return [f"ALTER TABLE {table} {', '.join(step.format(name) for name in COUNTERS)}" for table in TABLES]


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0017_stream'),
    ]

    operations = [
        # Of messages that are in flight now, `manage.py rebuild_metrics` counts them.
        migrations.RunSQL(columns("ADD COLUMN {} integer"), columns("DROP COLUMN {}")),
        migrations.CreateModel(
            name='TrackedMessage',
            fields=[
                ('message_id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('expires_at', models.DateTimeField()),
                ('stopped_at', models.DateTimeField(null=True)),
                ('endpoints', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, help_text='Webhooks of this message alone.', size=None)),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to='tracking.project')),
            ],
            options={
                'db_table': 'tracked_message',
                'default_permissions': (),
                'indexes': [models.Index(condition=models.Q(('stopped_at', None)), fields=['project', 'expires_at'], name='tracked_expiry')],
            },
        ),
        migrations.CreateModel(
            name='TrackerListener',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('until', models.DateTimeField(help_text='Renewed while it listens.')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tracker_listeners', to='tracking.project')),
            ],
            options={
                'db_table': 'tracker_listener',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='endpoint',
            name='digest',
            field=models.CharField(db_default='', default='', editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='retries',
            field=models.PositiveSmallIntegerField(help_text='Calls after the first.', null=True),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='timeout',
            field=models.FloatField(help_text='Seconds for a whole call.', null=True),
        ),
        migrations.AddField(
            model_name='endpoint',
            name='unused_after',
            field=models.DateTimeField(help_text='No message names it any more from then on.', null=True),
        ),
        migrations.AddConstraint(
            model_name='endpoint',
            constraint=models.UniqueConstraint(condition=models.Q(models.Q(('digest', ''), _negated=True), ('deleted_at', None)), fields=('project', 'digest'), name='webhook_of_messages'),
        ),
    ]
