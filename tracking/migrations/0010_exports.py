import django.contrib.postgres.fields
import django.db.models.deletion
import tracking.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0008_suppression_note'),
    ]

    operations = [
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.UUIDField(default=tracking.ids.new, editable=False, primary_key=True, serialize=False)),
                ('by', models.CharField(help_text='Who asked for it.', max_length=150)),
                ('format', models.CharField(choices=[('csv', 'csv'), ('jsonl', 'jsonl')], max_length=5)),
                ('gzip', models.BooleanField(default=False)),
                ('columns', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), size=None)),
                ('filters', models.JSONField(default=dict)),
                ('query', models.CharField(blank=True, default='', help_text='The scope, as the console says it.', max_length=8000)),
                ('directory', models.CharField(blank=True, default='', max_length=500)),
                ('expires', models.BooleanField(default=True)),
                ('state', models.CharField(choices=[('pending', 'pending'), ('processing', 'processing'), ('completed', 'completed'), ('failed', 'failed'), ('expired', 'expired')], default='pending', max_length=10)),
                ('fault', models.CharField(blank=True, default='', help_text='Why it failed.', max_length=300)),
                ('faults', models.PositiveSmallIntegerField(default=0, help_text='Failures in a row.')),
                ('place', models.UUIDField(help_text='It has come as far as this message.', null=True)),
                ('whole', models.BooleanField(default=False, help_text='All rows are in the part file.')),
                ('rows', models.BigIntegerField(default=0)),
                ('estimate', models.BigIntegerField(help_text="PostgreSQL's guess of how many rows there will be.", null=True)),
                ('bytes', models.BigIntegerField(default=0)),
                ('sha256', models.CharField(blank=True, default='', max_length=64)),
                ('downloads', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('worked_at', models.DateTimeField(null=True)),
                ('due_at', models.DateTimeField(help_text='After a failure: when it is tried again.', null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('endpoint', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='tracking.endpoint')),
                ('project', models.ForeignKey(help_text='Empty: of all projects.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='exports', to='tracking.project')),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('download_export', 'Can download exports')],
                'indexes': [models.Index(fields=['project', 'id'], name='export_project'), models.Index(condition=models.Q(('state__in', ['pending', 'processing'])), fields=['worked_at'], name='export_working'), models.Index(condition=models.Q(('state__in', ['completed', 'failed'])), fields=['expires_at'], name='export_expiring')],
            },
        ),
    ]
