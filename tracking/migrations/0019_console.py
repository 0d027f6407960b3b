"""Why an operator changed a consent; what the console calls channels."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0018_tracker'),
    ]

    operations = [
        migrations.AlterModelOptions(name='chatchannel', options={'verbose_name': 'channel'}),
        migrations.AddField(
            model_name='consentchange',
            name='note',
            field=models.CharField(blank=True, default='', help_text="Why, in the operator's words.", max_length=300),
        ),
    ]
