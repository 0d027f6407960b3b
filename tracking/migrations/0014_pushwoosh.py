
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0013_fallback'),
    ]

    operations = [
        migrations.CreateModel(
            name='PushwooshSettings',
            fields=[
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='pushwoosh', serialize=False, to='tracking.project')),
                ('enabled', models.BooleanField(default=False, help_text='Answer to /json/1.3/…, as Pushwoosh does.')),
                ('application', models.CharField(help_text='The application code that clients name, such as C90C0-0E786.', max_length=50, unique=True, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9][A-Za-z0-9.-]*\\Z', 'Letters, digits, dots and hyphens, such as C90C0-0E786.')])),
                ('registered_only', models.BooleanField(default=False, help_text='Treat what is in no registered device as unknown, instead of as a push token.')),
                ('open_registration', models.BooleanField(default=False, help_text="Let devices register with the application code alone, as Pushwoosh's own do. Whoever knows the code can then add and remove devices.")),
            ],
            options={
                'verbose_name': 'Pushwoosh interface',
                'verbose_name_plural': 'Pushwoosh interface',
            },
        ),
        migrations.CreateModel(
            name='PushLog',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.CharField(max_length=32, unique=True)),
                ('file_token', models.CharField(help_text="The file's address: whoever has it may read.", max_length=43, unique=True)),
                ('day', models.DateField(help_text='In UTC.')),
                ('state', models.CharField(choices=[('working', 'working'), ('done', 'done')], default='working', max_length=7)),
                ('after', models.UUIDField(help_text='It has come as far as this message.')),
                ('parts', models.PositiveIntegerField(default=0)),
                ('rows', models.PositiveBigIntegerField(default=0)),
                ('worked_at', models.DateTimeField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField()),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
        ),
        migrations.CreateModel(
            name='PushLogPart',
            fields=[
                ('pk', models.CompositePrimaryKey('log_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField()),
                ('lines', models.BinaryField()),
                ('log', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='tracking.pushlog')),
            ],
        ),
        migrations.CreateModel(
            name='Device',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('platform', models.CharField(choices=[('ios', 'ios'), ('android', 'android'), ('web', 'web'), ('macos', 'macos'), ('windows', 'windows'), ('amazon', 'amazon'), ('huawei', 'huawei'), ('other', 'other')], max_length=10)),
                ('token', models.CharField(help_text='What the push service calls the app on this device.', max_length=500)),
                ('hwid', models.CharField(blank=True, default='', help_text="The application's id of the device.", max_length=200)),
                ('user_id', models.CharField(blank=True, default='', max_length=200)),
                ('language', models.CharField(blank=True, default='', max_length=20)),
                ('app_version', models.CharField(blank=True, default='', max_length=50)),
                ('tags', models.JSONField(default=dict)),
                ('valid', models.BooleanField(default=True)),
                ('reason', models.CharField(blank=True, default='', help_text='Why the token is not valid.', max_length=30)),
                ('detail', models.CharField(blank=True, default='', help_text="In the provider's or operator's words.", max_length=300)),
                ('invalid_at', models.DateTimeField(null=True)),
                ('message_id', models.UUIDField(help_text='The message whose answer said so.', null=True)),
                ('registered_at', models.DateTimeField(help_text="When the application last named this token as the device's own.")),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='tracking.project')),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('switch_device', 'Can declare push tokens valid or invalid')],
                'indexes': [models.Index(fields=['project', 'id'], name='device_project'), models.Index(fields=['project', 'platform', 'id'], name='device_platform'), models.Index(condition=models.Q(('user_id', ''), _negated=True), fields=['project', 'user_id', 'id'], name='device_user'), models.Index(condition=models.Q(('valid', False)), fields=['project', 'id'], name='device_invalid'), models.Index(fields=['token'], name='device_token'), models.Index(condition=models.Q(('hwid', ''), _negated=True), fields=['hwid'], name='device_hwid')],
                'constraints': [models.UniqueConstraint(fields=('project', 'token'), name='one_device_token'), models.UniqueConstraint(condition=models.Q(('hwid', ''), _negated=True), fields=('project', 'hwid'), name='one_device_hwid')],
            },
        ),
        migrations.AddIndex(
            model_name='pushlog',
            index=models.Index(condition=models.Q(('state', 'working')), fields=['project', 'day'], name='push_log_working'),
        ),
        migrations.AddIndex(
            model_name='pushlog',
            index=models.Index(fields=['expires_at'], name='push_log_expiry'),
        ),
    ]
