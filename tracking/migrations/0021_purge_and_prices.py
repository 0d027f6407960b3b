"""A purge knows what changed since its exports were asked for; an attempt keeps what it costs, and is found by its start."""

import django.contrib.postgres.indexes
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
        migrations.AddField(
            model_name='attempt',
            name='parts',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Counted where they have a price.'),
        ),
        migrations.AddField(
            model_name='attempt',
            name='price',
            field=models.DecimalField(decimal_places=5, help_text='Of a part, when it was handed over. Empty: nobody knows.', max_digits=10, null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='currency',
            field=models.CharField(blank=True, db_default='', default='', max_length=3),
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=django.contrib.postgres.indexes.BrinIndex(fields=['started_at'], name='attempt_started'),
        ),
    ]
