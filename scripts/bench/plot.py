"""Plots as SVG, written by hand: one bar per contender, a whisker from the lowest to the highest run."""

from html import escape

INK, PALE, GRID = "#1b2733", "#5b6b7a", "#e3e8ec"
OURS, OTHERS, FLOOR = "#0b7a75", "#b8c4ce", "#e0a458"
ROW, LEFT, WIDTH, RIGHT = 24, 170, 720, 90
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def bars(title, panels):
    """panels: (name, unit, [(label, colour, median, low, high)]); one below the other, each with its own scale."""
    height = 40 + sum(44 + ROW * len(rows) for _, _, rows in panels)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold" fill="{INK}">{escape(title)}</text>',
    ]
    top = 40
    for name, unit, rows in panels:
        out += panel(top, name, unit, rows)
        top += 44 + ROW * len(rows)
    return "\n".join([*out, "</svg>"]) + "\n"


def panel(top, name, unit, rows):
    most = max(high for *_, high in rows) or 1
    step = nice(most / 4)
    scale = (WIDTH - LEFT - RIGHT) / (most * 1.02)
    yield f'<text x="16" y="{top + 18}" font-size="13" fill="{INK}">{escape(name)}, {escape(unit)}</text>'
    first, last = top + 28, top + 28 + ROW * len(rows)
    tick = 0.0
    while tick <= most:
        x = LEFT + tick * scale
        yield f'<line x1="{x:.1f}" y1="{first}" x2="{x:.1f}" y2="{last}" stroke="{GRID}"/>'
        yield f'<text x="{x:.1f}" y="{last + 11}" font-size="10" text-anchor="middle" fill="{PALE}">{tick:g}</text>'
        tick += step
    for number, (label, colour, median, low, high) in enumerate(rows):
        y = first + number * ROW
        middle = y + ROW / 2
        yield f'<text x="{LEFT - 8}" y="{middle + 4}" font-size="12" text-anchor="end" fill="{INK}">{escape(label)}</text>'
        yield f'<rect x="{LEFT}" y="{y + 4}" width="{max(median * scale, 1):.1f}" height="{ROW - 8}" fill="{colour}" rx="2"/>'
        yield (
            f'<path d="M{LEFT + low * scale:.1f} {middle}H{LEFT + high * scale:.1f}M{LEFT + low * scale:.1f} {middle - 4}v8'
            f'M{LEFT + high * scale:.1f} {middle - 4}v8" stroke="{INK}" fill="none"/>'
        )
        yield f'<text x="{LEFT + high * scale + 6:.1f}" y="{middle + 4}" font-size="12" fill="{INK}">{short(median)}</text>'


def nice(step):
    """The round number next above a step of a scale."""
    power = 10 ** max(-6, len(f"{int(step)}") - 1) if step >= 1 else 10 ** -1 if step >= 0.1 else 10**-2
    return next(power * factor for factor in (1, 2, 5, 10, 20, 50) if power * factor >= step)


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
