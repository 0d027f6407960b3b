import django.core.validators
import django.db.models.deletion
import providers.models
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ProviderAccount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.SlugField(unique=True, validators=[django.core.validators.RegexValidator('^[a-z0-9][a-z0-9-]*$')])),
                ('kind', models.CharField(max_length=30)),
                ('channel', models.CharField(choices=[('email', 'email'), ('sms', 'sms'), ('push', 'push'), ('chat', 'chat')], max_length=10)),
                ('name', models.CharField(blank=True, default='', max_length=100)),
                ('enabled', models.BooleanField(default=True)),
                ('settings', models.JSONField(blank=True, default=dict)),
                ('sealed_credentials', models.TextField(blank=True, default='', editable=False)),
                ('hook_token', models.CharField(default=providers.models.new_hook_token, editable=False, max_length=64, unique=True)),
                ('rate_per_second', models.FloatField(blank=True, help_text='Hand-overs a second. Empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(0.001)])),
                ('max_in_flight', models.PositiveSmallIntegerField(default=8, help_text='Hand-overs under way at once, over all workers.', validators=[django.core.validators.MinValueValidator(1)])),
                ('weight', models.SmallIntegerField(default=100, help_text='Routing takes the healthy account with the highest.')),
                ('price_per_part', models.DecimalField(decimal_places=5, default=0, max_digits=10)),
                ('currency', models.CharField(default='EUR', max_length=3)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['code'],
            },
        ),
        migrations.CreateModel(
            name='Circuit',
            fields=[
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, serialize=False, to='providers.provideraccount')),
                ('next_slot_at', models.DateTimeField(help_text='When the rate limit allows the next hand-over.', null=True)),
                ('failures', models.PositiveIntegerField(default=0, help_text='Failures of the account itself in a row.')),
                ('open_until', models.DateTimeField(help_text='No hand-over before this moment.', null=True)),
                ('opened_at', models.DateTimeField(null=True)),
                ('reason', models.CharField(blank=True, default='', max_length=500)),
            ],
            options={
                'verbose_name': 'circuit',
            },
        ),
    ]
