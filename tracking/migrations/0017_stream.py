"""What streams read: a table that record writes into without numbers, the sequence of numbers, who follows."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

TABLE = """
CREATE SEQUENCE stream_number AS bigint;
CREATE TABLE stream_event (
    message_id uuid NOT NULL,
    place bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    number bigint,
    project_id bigint NOT NULL,
    channel varchar(10) NOT NULL,
    status varchar(10) NOT NULL,
    previous varchar(10),
    reason varchar(30) NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    CONSTRAINT stream_event_key PRIMARY KEY (message_id, place)
);
-- Emptied as fast as it is filled, and found by the one statement that numbers.
CREATE INDEX stream_unnumbered ON stream_event (place) WHERE number IS NULL;
CREATE UNIQUE INDEX stream_by_number ON stream_event (number) WHERE number IS NOT NULL;
CREATE INDEX stream_by_project ON stream_event (project_id, number) WHERE number IS NOT NULL;
-- For pruning only: rows come in the order of time.
CREATE INDEX stream_by_time ON stream_event USING brin (at);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0016_engagement'),
    ]

    operations = [
        migrations.RunSQL(
            TABLE,
            'DROP TABLE stream_event; DROP SEQUENCE stream_number;',
            state_operations=[
                migrations.CreateModel(
                    name='StreamEvent',
                    fields=[
                        ('pk', models.CompositePrimaryKey('message_id', 'place', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('message_id', models.UUIDField()),
                        ('place', models.BigIntegerField(help_text='Of one message: in the order of its changes.')),
                        ('number', models.BigIntegerField(help_text='In the order of commits, over all projects.', null=True)),
                        ('channel', models.CharField(max_length=10)),
                        ('status', models.CharField(max_length=10)),
                        ('previous', models.CharField(help_text='Empty for a new message.', max_length=10, null=True)),
                        ('reason', models.CharField(blank=True, default='', max_length=30)),
                        ('at', models.DateTimeField(help_text='When the change was recorded.')),
                        ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to='tracking.project')),
                    ],
                    options={
                        'db_table': 'stream_event',
                        'ordering': ['place'],
                                'default_permissions': (),
                    },
                ),
            ],
        ),
        migrations.CreateModel(
            name='Follower',
            fields=[
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='follower', serialize=False, to='tracking.project')),
                ('since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('until', models.DateTimeField()),
                ('floor', models.BigIntegerField(default=0, help_text='Up to this number events may be missing or are pruned.')),
            ],
            options={
                'db_table': 'stream_follower',
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('floor__gte', 0)), name='stream_floor_positive')],
            },
        ),
    ]
