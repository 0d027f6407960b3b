
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0010_exports'),
    ]

    operations = [
        migrations.CreateModel(
            name='PurgeRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started_at', models.DateTimeField()),
                ('worked_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('by', models.CharField(help_text='Who asked for it.', max_length=150)),
                ('counts', models.JSONField(default=dict, help_text='project → table → rows that were deleted one by one')),
                ('dropped', models.JSONField(default=list, help_text='name, about how many rows, bytes of each partition')),
                ('held', models.JSONField(default=list, help_text='What could not go, and why, in words.')),
                ('error', models.CharField(blank=True, default='', max_length=200)),
            ],
            options={
                'verbose_name': 'purge',
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('finished_at', None)), fields=['worked_at'], name='purge_running')],
            },
        ),
        migrations.CreateModel(
            name='Retention',
            fields=[
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='retention', serialize=False, to='tracking.project')),
                ('plan', models.CharField(choices=[('free', 'Free: 30 days'), ('pro', 'Pro: 90 days'), ('custom', 'Custom')], default='pro', max_length=6)),
                ('days', models.PositiveSmallIntegerField(default=90, help_text='Messages with their attempts and events. Set by the plan, unless that is Custom.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)])),
                ('content_days', models.PositiveSmallIntegerField(default=30, help_text='What the messages say. Not longer than the messages themselves.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)])),
                ('export_first', models.BooleanField(default=False, help_text='What is to be purged is exported first; the purge waits for the export.')),
                ('changed_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'verbose_name': 'retention policy',
                'verbose_name_plural': 'retention',
                'constraints': [models.CheckConstraint(condition=models.Q(('content_days__lte', models.F('days'))), name='retention_content_first')],
            },
        ),
        migrations.CreateModel(
            name='Erasure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(choices=[('email', 'email'), ('sms', 'sms'), ('push', 'push'), ('chat', 'chat')], max_length=10)),
                ('address_hash', models.BinaryField(max_length=32)),
                ('sealed', models.TextField(blank=True, default='', editable=False)),
                ('by', models.CharField(help_text='Who asked for it.', max_length=150)),
                ('reason', models.CharField(blank=True, default='', max_length=300)),
                ('state', models.CharField(choices=[('running', 'running'), ('done', 'done')], default='running', max_length=7)),
                ('step', models.PositiveSmallIntegerField(default=0, editable=False)),
                ('place', models.UUIDField(editable=False, help_text='How far this step has come.', null=True)),
                ('waits', models.PositiveIntegerField(default=0, help_text='Messages that were just being sent.')),
                ('counts', models.JSONField(default=dict, help_text='table → rows that were erased or made nameless')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('worked_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('state', 'running')), fields=['worked_at'], name='erasure_running')],
            },
        ),
        migrations.CreateModel(
            name='PurgedWeek',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('message', 'message'), ('content', 'content')], max_length=7)),
                ('starts', models.DateTimeField()),
                ('done', models.BooleanField(default=False, help_text='Nothing of the project is left in it.')),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'kind', 'starts'), name='one_purged_week')],
            },
        ),
    ]
