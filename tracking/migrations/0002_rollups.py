from django.db import migrations, models

# Columns that Django knows nothing of: one for each counter (tracking/counters.py).
COUNTERS = """
    created sent delivered failed bounced unknown in_flight pending cancelled suppressed expired rejected read
    opened machine_opened clicked complained unsubscribed timed late delivery_ms failed_temporary_failure
    failed_rate_limit failed_timeout failed_permanent failed_invalid_recipient failed_blocked failed_ambiguous
    failed_expired failed_suppressed failed_rejected failed_attempts_exhausted failed_cancelled bounced_hard
    bounced_soft bounced_block bounced_admin bounced_undetermined attempts_started attempts_accepted
    attempts_receipted attempts_delivered attempts_failed attempts_bounced attempts_unknown
    attempts_failed_temporary_failure attempts_failed_rate_limit attempts_failed_timeout attempts_failed_permanent
    attempts_failed_invalid_recipient attempts_failed_blocked attempts_failed_ambiguous attempts_bounced_hard
    attempts_bounced_soft attempts_bounced_block attempts_bounced_admin attempts_bounced_undetermined
""".split() + [f"latency_{number:02}" for number in range(94)]
COLUMNS = ", ".join(f"ADD COLUMN {name} {'bigint' if name == 'delivery_ms' else 'integer'}" for name in COUNTERS)


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0001_initial'),
    ]

    operations = [
        # The deltas of before counted otherwise: `manage.py rebuild_metrics` recounts from the raw rows.
        migrations.RunSQL("TRUNCATE metric_delta", migrations.RunSQL.noop),
        migrations.CreateModel(
            name='MetricHour',
            fields=[
                ('pk', models.CompositePrimaryKey('kind', 'start', 'project_id', 'channel', 'account_id', 'label', blank=True, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=10)),
                ('start', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(help_text='0: none')),
                ('label', models.CharField(max_length=200)),
            ],
            options={
                'db_table': 'metric_hour',
            },
        ),
        migrations.CreateModel(
            name='MetricBlock',
            fields=[
                ('pk', models.CompositePrimaryKey('kind', 'start', 'project_id', 'channel', 'account_id', 'label', blank=True, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=10)),
                ('start', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(help_text='0: none')),
                ('label', models.CharField(max_length=200)),
            ],
            options={
                'db_table': 'metric_block',
            },
        ),
        migrations.CreateModel(
            name='MetricMinute',
            fields=[
                ('pk', models.CompositePrimaryKey('kind', 'start', 'project_id', 'channel', 'account_id', 'label', blank=True, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=10)),
                ('start', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(help_text='0: none')),
                ('label', models.CharField(max_length=200)),
            ],
            options={
                'db_table': 'metric_minute',
            },
        ),
        migrations.CreateModel(
            name='MetricQuarter',
            fields=[
                ('pk', models.CompositePrimaryKey('kind', 'start', 'project_id', 'channel', 'account_id', 'label', blank=True, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=10)),
                ('start', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(help_text='0: none')),
                ('label', models.CharField(max_length=200)),
            ],
            options={
                'db_table': 'metric_quarter',
            },
        ),
        migrations.CreateModel(
            name='MetricSeal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('since', models.DateTimeField()),
                ('until', models.DateTimeField()),
                ('sealed_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'db_table': 'metric_seal',
            },
        ),
        migrations.CreateModel(
            name='HourCheck',
            fields=[
                ('hour', models.DateTimeField(primary_key=True, serialize=False)),
                ('checked_at', models.DateTimeField()),
                ('complete', models.BooleanField(help_text='False: there was too much for a job; check_invariants has no such limit.')),
                ('differences', models.PositiveIntegerField()),
                ('first', models.JSONField(default=list)),
            ],
            options={
                'db_table': 'hour_check',
            },
        ),
        migrations.RemoveField(
            model_name='metricdelta',
            name='bounce',
        ),
        migrations.RemoveField(
            model_name='metricdelta',
            name='cohort',
        ),
        migrations.RemoveField(
            model_name='metricdelta',
            name='failure',
        ),
        migrations.AddField(
            model_name='metricdelta',
            name='kind',
            field=models.CharField(blank=True, default='', max_length=10),
        ),
        migrations.AddField(
            model_name='metricdelta',
            name='label',
            field=models.CharField(blank=True, default='', max_length=200),
        ),
        migrations.CreateModel(
            name='MetricKept',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('minute', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(null=True)),
                ('counts', models.JSONField()),
            ],
            options={
                'db_table': 'metric_kept',
                'indexes': [models.Index(fields=['minute'], name='metric_kept_minute')],
            },
        ),
        *(
            migrations.RunSQL(f"ALTER TABLE {table} {COLUMNS}", migrations.RunSQL.noop)
            for table in ("metric_minute", "metric_quarter", "metric_hour", "metric_block")
        ),
        # Each row lives for a second or two: readers of the table should not have to step over many dead ones.
        migrations.RunSQL(
            "ALTER TABLE metric_delta SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)",
            migrations.RunSQL.noop,
        ),
    ]
