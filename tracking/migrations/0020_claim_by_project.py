"""The claim reads the first due rows of each project and priority, and so leaves paused projects out unread."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tracking', '0019_console'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='queuerow', name='queue_due'),
        migrations.AddIndex(
            model_name='queuerow',
            index=models.Index(
                condition=models.Q(('lease_token', None)),
                fields=['account_id', 'project_id', 'priority', 'due_at', 'message_id'],
                name='queue_due',
            ),
        ),
    ]
