"""What the Python examples share: a table of figures for each density, and a plot of it."""


def print_table(rows):
    """rows: dicts with the same keys, printed as a Markdown table."""
    names = list(rows[0])
    lines = [[_text(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *lines)]
    for line in (names, ["-" * (width - 1) + ":" for width in widths], *lines):
        print("| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths)) + " |")


def save_plot(path, title, quality, speed, reference):
    """quality, speed: (axis label, densities, values); reference: (label, value) in the units of speed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, (label, densities, values) in zip(axes, (quality, speed)):
        axis.plot(densities, values, "o-", label="sprnn")
        axis.set_xlabel("density")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[1].axhline(reference[1], color="gray", linestyle="--", label=reference[0])
    for axis in axes:
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    axes[1].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    print(f"plot: {path}")


def _text(value):
    return value if isinstance(value, str) else f"{value:.4g}"
