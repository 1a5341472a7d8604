"""Drawings of numbers: axes, and the marks in them, as inline SVG that style sheets color and scripts walk through."""
