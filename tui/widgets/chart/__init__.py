"""A live chart for the terminal that sends only the cells that changed."""

from tui.widgets.chart.chart import Chart
from tui.widgets.chart.curve import Column, Curve
from tui.widgets.chart.view import XView

__all__ = ["Chart", "Column", "Curve", "XView"]
