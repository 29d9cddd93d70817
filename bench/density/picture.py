# SPDX-License-Identifier: MIT
"""picture -- footprint over time as SVG: a panel for each program."""

PANEL_W, PANEL_H, COLUMNS = 330, 190, 3
LEFT, TOP, RIGHT, BOTTOM = 46, 34, 12, 24
COLOURS = {"jemalloc": "#d62728", "zram lz4": "#ff7f0e", "zram lzo-rle": "#8c564b",
           "KSM": "#1f77b4", "zalloc": "#2ca02c"}
MIB = 1 << 20


def nice(most):
    """A round number for the axis, not below most."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if factor * step * 4 >= most:
                return factor * step * 4
        step *= 10


def panel(case, x, y, seconds):
    """One program: lines over time, levels where nothing moves."""
    width, height = PANEL_W - LEFT - RIGHT, PANEL_H - TOP - BOTTOM
    values = [v for line in case["lines"].values() for _, v in line] + list(case["levels"].values())
    top = nice(max(values) / MIB)

    def at(t, v):
        return (f"{x + LEFT + width * min(t / seconds, 1):.1f},"
                f"{y + TOP + height * (1 - v / MIB / top):.1f}")

    out = [f'<text x="{x + LEFT}" y="{y + TOP - 8}" font-size="12">{case["name"]}</text>']
    for i in range(5):
        level = y + TOP + height * (1 - i / 4)
        out.append(f'<line x1="{x + LEFT}" y1="{level:.1f}" x2="{x + LEFT + width}" '
                   f'y2="{level:.1f}" stroke="#ddd"/><text x="{x + LEFT - 4}" y="{level + 4:.1f}" '
                   f'text-anchor="end" fill="#555">{top * i / 4:g}</text>')
    for i in range(4):
        t = seconds * i / 3
        out.append(f'<text x="{x + LEFT + width * i / 3:.1f}" y="{y + PANEL_H - 8}" '
                   f'text-anchor="middle" fill="#555">{t:.0f} s</text>')
    for name, value in case["levels"].items():
        (x1, y1), (x2, y2) = (at(t, value).split(",") for t in (0, seconds))
        out.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{COLOURS[name]}" '
                   'stroke-width="1.4" stroke-dasharray="5 3"/>')
    for name, line in case["lines"].items():
        points = " ".join(at(t, v) for t, v in line)
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" '
                   'stroke-width="1.8"/>')
    return out


def draw(path, cases, seconds):
    """All panels and the legend."""
    rows = (len(cases) + COLUMNS - 1) // COLUMNS
    width, height = PANEL_W * COLUMNS, PANEL_H * rows + 48
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif" font-size="10">',
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="18" font-size="14">MiB of memory (PSS, page tables, zram) after '
           'loading, the programs idle</text>']
    for i, (name, colour) in enumerate(COLOURS.items()):
        dash = ' stroke-dasharray="5 3"' if name.startswith("zram") else ""
        x = 10 + i * 130
        out.append(f'<line x1="{x}" y1="34" x2="{x + 22}" y2="34" stroke="{colour}" '
                   f'stroke-width="2"{dash}/>'
                   f'<text x="{x + 27}" y="38" font-size="11">{name}</text>')
    for i, case in enumerate(cases):
        out += panel(case, i % COLUMNS * PANEL_W, 44 + i // COLUMNS * PANEL_H, seconds)
    out.append("</svg>\n")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out))
