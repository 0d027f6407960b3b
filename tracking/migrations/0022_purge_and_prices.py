"""A purge knows what changed since its exports were asked for."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0020_claim_by_project'),
    ]

    operations = [
        migrations.AddField(
            model_name='purgerun',
            name='horizon',
            field=models.BigIntegerField(default=0, editable=False, help_text='What a transaction from this one on has changed may stand in no export.'),
        ),
    ]
