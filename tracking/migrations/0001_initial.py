import django.contrib.postgres.fields
import django.db.models.deletion
import tracking.models.project
from django.db import migrations, models
from tracking.partitions import CreatePartitioned, ensure_ahead


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('providers', '0001_initial'),
    ]

    operations = [
        CreatePartitioned(
            name='Content',
            by='message_id',
            fields=[
                ('message_id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('body', models.JSONField(help_text='sender, reply_to, cc, bcc, headers, subject, text, html, data, variables, …')),
            ],
            options={
                'db_table': 'content',
            },
        ),
        CreatePartitioned(
            name='Event',
            by='message_id',
            fields=[
                ('pk', models.CompositePrimaryKey('message_id', 'dedupe_key', blank=True, editable=False, primary_key=True, serialize=False)),
                ('message_id', models.UUIDField()),
                ('dedupe_key', models.CharField(max_length=80)),
                ('kind', models.CharField(max_length=20)),
                ('attempt', models.PositiveSmallIntegerField(null=True)),
                ('number', models.PositiveSmallIntegerField(help_text='Of a decision: its place in their order.', null=True)),
                ('occurred_at', models.DateTimeField()),
                ('said_at', models.DateTimeField(help_text='The time that the receipt gave, before clamping.', null=True)),
                ('recorded_at', models.DateTimeField()),
                ('source', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(null=True)),
                ('inbound_id', models.UUIDField(null=True)),
                ('failure', models.CharField(max_length=20, null=True)),
                ('bounce', models.CharField(max_length=15, null=True)),
                ('machine', models.BooleanField(default=False)),
                ('code', models.CharField(blank=True, default='', max_length=100)),
                ('text', models.CharField(blank=True, default='', max_length=1000)),
                ('detail', models.JSONField(null=True)),
            ],
            options={
                'db_table': 'event',
            },
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('detail', models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name='MetricDelta',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cohort', models.CharField(max_length=7)),
                ('minute', models.DateTimeField()),
                ('project_id', models.BigIntegerField()),
                ('channel', models.CharField(max_length=10)),
                ('account_id', models.BigIntegerField(null=True)),
                ('failure', models.CharField(blank=True, default='', max_length=20)),
                ('bounce', models.CharField(blank=True, default='', max_length=15)),
                ('counts', models.JSONField(help_text='counter → change')),
            ],
            options={
                'db_table': 'metric_delta',
            },
        ),
        migrations.CreateModel(
            name='Switch',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ('sending_paused', models.BooleanField(default=False)),
                ('reason', models.CharField(blank=True, default='', max_length=200)),
                ('changed_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'verbose_name': 'sending switch',
                'verbose_name_plural': 'sending switch',
            },
        ),
        migrations.CreateModel(
            name='Grant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='providers.provideraccount')),
            ],
        ),
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.SlugField(unique=True)),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('paused', models.BooleanField(default=False, help_text='While set, nothing of this project is sent; it is queued.')),
                ('retry', models.JSONField(blank=True, default=dict, help_text='Overrides of the retry policy: max_attempts, initial_delay, max_delay (s), backoff_factor, retry_conditions.')),
                ('default_region', models.CharField(blank=True, default='', help_text='ISO country for phone numbers without +. Empty: + is required.', max_length=2)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('accounts', models.ManyToManyField(related_name='projects', through='tracking.Grant', to='providers.provideraccount')),
            ],
            options={
                'ordering': ['code'],
            },
        ),
        migrations.AddField(
            model_name='grant',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tracking.project'),
        ),
        migrations.CreateModel(
            name='Batch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('size', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
            options={
                'verbose_name_plural': 'batches',
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=50)),
                ('prefix', models.CharField(editable=False, max_length=12, unique=True)),
                ('hashed', models.BinaryField(max_length=32)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), default=tracking.models.project.all_scopes, size=None)),
                ('revoked', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to='tracking.project')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
            },
        ),
        migrations.CreateModel(
            name='QueueRow',
            fields=[
                ('message_id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('project_id', models.BigIntegerField()),
                ('account_id', models.BigIntegerField()),
                ('priority', models.SmallIntegerField(default=5)),
                ('due_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField(null=True)),
                ('lease_token', models.UUIDField(null=True)),
                ('lease_until', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'queue',
                'indexes': [models.Index(condition=models.Q(('lease_token', None)), fields=['account_id', 'priority', 'due_at', 'message_id'], name='queue_due'), models.Index(condition=models.Q(('lease_token', None)), fields=['account_id', 'due_at'], name='queue_next'), models.Index(condition=models.Q(('expires_at__isnull', False), ('lease_token', None)), fields=['expires_at'], name='queue_expiry'), models.Index(condition=models.Q(('lease_token__isnull', False)), fields=['lease_until'], name='queue_leased'), models.Index(condition=models.Q(('lease_token__isnull', False)), fields=['account_id'], name='queue_in_flight')],
            },
        ),
        migrations.CreateModel(
            name='Suppression',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(choices=[('email', 'email'), ('sms', 'sms'), ('push', 'push'), ('chat', 'chat')], max_length=10)),
                ('address_hash', models.BinaryField(max_length=32)),
                ('address', models.CharField(blank=True, default='', max_length=500)),
                ('reason', models.CharField(max_length=30)),
                ('message_id', models.UUIDField(help_text='The message whose receipt led to it.', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
        ),
        migrations.CreateModel(
            name='Unmatched',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('inbound_id', models.UUIDField()),
                ('item', models.PositiveIntegerField(help_text='Which receipt of the request, from 0.')),
                ('receipt', models.JSONField()),
                ('why', models.CharField(max_length=100)),
                ('received_at', models.DateTimeField()),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('next_try_at', models.DateTimeField(null=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='providers.provideraccount')),
            ],
            options={
                'verbose_name': 'unmatched receipt',
            },
        ),
        CreatePartitioned(
            name='Attempt',
            by='message_id',
            fields=[
                ('pk', models.CompositePrimaryKey('message_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('message_id', models.UUIDField()),
                ('number', models.PositiveSmallIntegerField()),
                ('leg', models.PositiveSmallIntegerField(default=0)),
                ('idempotency_key', models.CharField(blank=True, default='', max_length=60)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(help_text='When our call to the provider returned.', null=True)),
                ('reference', models.CharField(blank=True, default='', max_length=300)),
                ('accepted_at', models.DateTimeField(null=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('opened_at', models.DateTimeField(null=True)),
                ('clicked_at', models.DateTimeField(null=True)),
                ('read_at', models.DateTimeField(null=True)),
                ('machine_opened_at', models.DateTimeField(null=True)),
                ('hard_bounced_at', models.DateTimeField(null=True)),
                ('bounced_at', models.DateTimeField(null=True)),
                ('failed_at', models.DateTimeField(null=True)),
                ('unknown_at', models.DateTimeField(null=True)),
                ('complained_at', models.DateTimeField(null=True)),
                ('unsubscribed_at', models.DateTimeField(null=True)),
                ('failure', models.CharField(choices=[('temporary_failure', 'temporary_failure'), ('rate_limit', 'rate_limit'), ('timeout', 'timeout'), ('permanent', 'permanent'), ('invalid_recipient', 'invalid_recipient'), ('blocked', 'blocked'), ('ambiguous', 'ambiguous')], max_length=20, null=True)),
                ('bounce', models.CharField(choices=[('hard', 'hard'), ('soft', 'soft'), ('block', 'block'), ('admin', 'admin'), ('undetermined', 'undetermined')], max_length=15, null=True)),
                ('cause_at', models.DateTimeField(null=True)),
                ('code', models.CharField(blank=True, default='', max_length=100)),
                ('text', models.CharField(blank=True, default='', max_length=1000)),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to='providers.provideraccount')),
            ],
            options={
                'db_table': 'attempt',
                'indexes': [models.Index(condition=models.Q(('reference', ''), _negated=True), fields=['reference', 'account'], name='attempt_reference')],
            },
        ),
        CreatePartitioned(
            name='Inbound',
            by='id',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('method', models.CharField(max_length=7)),
                ('url', models.TextField()),
                ('headers', models.JSONField()),
                ('body', models.BinaryField()),
                ('state', models.CharField(choices=[('new', 'new'), ('done', 'done'), ('error', 'error')], default='new', max_length=5)),
                ('receipts', models.PositiveIntegerField(default=0, help_text='How many receipts it held.')),
                ('unmatched', models.PositiveIntegerField(default=0)),
                ('error', models.CharField(blank=True, default='', max_length=1000)),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to='providers.provideraccount')),
            ],
            options={
                'verbose_name': 'inbound request',
                'db_table': 'inbound',
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('state', 'new')), fields=['id'], name='inbound_new'), models.Index(condition=models.Q(('state', 'error')), fields=['id'], name='inbound_error')],
            },
        ),
        migrations.CreateModel(
            name='Nonce',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('nonce', models.CharField(max_length=200)),
                ('digest', models.BinaryField(max_length=32)),
                ('seen_at', models.DateTimeField(auto_now_add=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='providers.provideraccount')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('account', 'nonce'), name='one_nonce')],
            },
        ),
        CreatePartitioned(
            name='Message',
            by='id',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('channel', models.CharField(choices=[('email', 'email'), ('sms', 'sms'), ('push', 'push'), ('chat', 'chat')], max_length=10)),
                ('recipient', models.CharField(max_length=500)),
                ('external_id', models.CharField(blank=True, default='', max_length=200)),
                ('category', models.CharField(blank=True, default='', max_length=100)),
                ('template_id', models.CharField(blank=True, default='', max_length=200)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), default=list, size=None)),
                ('priority', models.SmallIntegerField(default=5)),
                ('scheduled_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('retry', models.JSONField(null=True)),
                ('status', models.CharField(choices=[('pending', 'pending'), ('processing', 'processing'), ('sent', 'sent'), ('delivered', 'delivered'), ('read', 'read'), ('failed', 'failed'), ('bounced', 'bounced'), ('cancelled', 'cancelled'), ('unknown', 'unknown')], max_length=10)),
                ('reason', models.CharField(blank=True, default='', max_length=30)),
                ('sent_at', models.DateTimeField(null=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('read_at', models.DateTimeField(null=True)),
                ('failed_at', models.DateTimeField(null=True)),
                ('attempts', models.PositiveSmallIntegerField(default=0, help_text='Hand-overs on record.')),
                ('decision', models.CharField(choices=[('queued', 'queued'), ('followed', 'followed'), ('retry_scheduled', 'retry_scheduled'), ('next_leg', 'next_leg'), ('operator_retry', 'operator_retry'), ('gave_up', 'gave_up'), ('cancelled', 'cancelled'), ('expired', 'expired'), ('suppressed', 'suppressed'), ('rejected', 'rejected')], max_length=20)),
                ('decisions', models.PositiveSmallIntegerField(default=1, help_text='How many decisions were made.')),
                ('decided_after', models.PositiveSmallIntegerField(default=0, help_text='Attempts on record at the last decision.')),
                ('budget_from', models.PositiveSmallIntegerField(default=0)),
                ('operator_retries', models.PositiveSmallIntegerField(default=0)),
                ('leg', models.PositiveSmallIntegerField(default=0)),
                ('reference', models.CharField(blank=True, default='', help_text="The provider's id, of the last attempt that has one.", max_length=300)),
                ('account', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, to='providers.provideraccount')),
                ('batch', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, to='tracking.batch')),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, to='tracking.project')),
            ],
            options={
                'db_table': 'message',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['project', 'id'], name='message_project'), models.Index(fields=['recipient', 'id'], name='message_recipient'), models.Index(condition=models.Q(('external_id', ''), _negated=True), fields=['external_id', 'id'], name='message_external'), models.Index(condition=models.Q(('batch__isnull', False)), fields=['batch', 'id'], name='message_batch')],
            },
        ),
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=255)),
                ('digest', models.BinaryField(max_length=32)),
                ('response', models.JSONField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
            options={
                'indexes': [models.Index(fields=['created_at'], name='idempotency_age')],
                'constraints': [models.UniqueConstraint(fields=('project', 'key'), name='one_idempotency_key')],
            },
        ),
        migrations.AddConstraint(
            model_name='grant',
            constraint=models.UniqueConstraint(fields=('project', 'account'), name='one_grant'),
        ),
        migrations.AddConstraint(
            model_name='suppression',
            constraint=models.UniqueConstraint(fields=('project', 'channel', 'address_hash'), name='one_suppression'),
        ),
        migrations.AddConstraint(
            model_name='suppression',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='suppression_has_reason'),
        ),
        migrations.AddIndex(
            model_name='unmatched',
            index=models.Index(condition=models.Q(('next_try_at__isnull', False)), fields=['next_try_at'], name='unmatched_due'),
        ),
        migrations.AddConstraint(
            model_name='unmatched',
            constraint=models.UniqueConstraint(fields=('inbound_id', 'item'), name='one_unmatched'),
        ),
        # a fresh installation (and every test database) can take messages at once
        migrations.RunPython(lambda apps, schema_editor: ensure_ahead(), migrations.RunPython.noop),
    ]
