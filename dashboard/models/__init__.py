"""The console's own tables, by theme. What became of messages stands in tracking."""

from dashboard.models.bulk import BulkItem, BulkKind, BulkOperation, BulkState, Outcome
from dashboard.models.views import SavedView

__all__ = ["BulkItem", "BulkKind", "BulkOperation", "BulkState", "Outcome", "SavedView"]
