"""What the overview's templates need: figures in words, definitions as tooltips, samples of series."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import overview_tiles
from dashboard.diagnosis import Finding
from dashboard.swatches import Swatch
from tracking.figures import Definition

register = template.Library()


@register.filter
def share(value: float | None) -> str:
    return overview_tiles.percent(value)


@register.filter
def seconds(value: float | None) -> str:
    return overview_tiles.lasting(value).strip()


@register.filter
def count(value: int) -> str:
    return f"{value:,}"


@register.simple_tag
def said(finding: Finding) -> str:
    return finding.trouble.words.format(share=overview_tiles.percent(finding.share))


@register.simple_tag
def tip(key: str, definition: Definition) -> SafeString:
    """What a metric means: shown while the pointer or the focus is on it, and read out by screen readers."""
    return format_html(
        '<span class="tip"><button type="button" class="tip-mark" id="tip-{}" aria-label="What is “{}”?"'
        ' aria-describedby="tip-text-{}">?</button><span class="tip-text" role="tooltip" id="tip-text-{}">'
        "<strong>{}</strong> {}</span></span>",
        *(key, definition.name, key, key, definition.name, definition.formula),
    )


@register.simple_tag
def swatch(sample: Swatch) -> SafeString:
    strokes = format_html('<path class="swatch-strokes" d="{}"/>', sample.strokes) if sample.strokes else ""
    return format_html(
        '<svg class="swatch" viewBox="0 0 {} 10" width="{}" height="10" aria-hidden="true"><path class="{}" d="{}"/>{}'
        "</svg>",
        *(sample.width, sample.width, sample.fill, sample.shape, strokes),
    )
