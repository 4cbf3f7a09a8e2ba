"""How the page looks: one palette in light and dark, system fonts, nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import Any

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "DejaVu Sans Mono", "monospace")
LIGHT = {
    "ink": "#23272b",
    "soft": "#586169",
    "line": "#dcd8cf",
    "paper": "#faf8f4",
    "card": "#ffffff",
    "field": "#ffffff",
    "edge": "#8b9096",
    "yes": "#0f6b63",
    "on-yes": "#ffffff",
    "yes-wash": "#e3f0ee",
    "no": "#a0460f",
    "no-wash": "#f8ebe2",
    "slate": "#334b6b",
    "heat": "#d9803a",
}
DARK = {
    "ink": "#ece8e0",
    "soft": "#a9afb3",
    "line": "#363b3f",
    "paper": "#15181a",
    "card": "#1d2124",
    "field": "#24292c",
    "edge": "#757c82",
    "yes": "#5fc4b8",
    "on-yes": "#0c201e",
    "yes-wash": "#16312f",
    "no": "#eaa173",
    "no-wash": "#38261b",
    "slate": "#9db8dc",
    "heat": "#c8742f",
}
_SAME = {  # Gradio's names for what the palette calls by fewer
    "paper": ("body_background_fill", "background_fill_secondary"),
    "card": ("background_fill_primary", "block_background_fill", "panel_background_fill"),
    "ink": (
        "body_text_color",
        "block_title_text_color",
        "block_label_text_color",
        "button_secondary_text_color",
        "button_secondary_text_color_hover",
        "checkbox_label_text_color",
        "accordion_text_color",
        "table_text_color",
    ),
    "soft": (
        "body_text_color_subdued",
        "block_info_text_color",
        "input_placeholder_color",
    ),
    "line": (
        "border_color_primary",
        "block_border_color",
        "block_label_border_color",
        "panel_border_color",
        "checkbox_label_border_color",
        "table_border_color",
        "stat_background_fill",
    ),
    "edge": (
        "input_border_color",
        "input_border_color_hover",
        "button_secondary_border_color",
        "checkbox_border_color",
    ),
    "yes": (
        "button_primary_background_fill",
        "button_primary_background_fill_hover",
        "button_primary_border_color",
        "color_accent",
        "border_color_accent",
        "input_border_color_focus",
        "checkbox_background_color_selected",
        "checkbox_border_color_selected",
        "checkbox_border_color_focus",
        "slider_color",
        "loader_color",
        "link_text_color",
        "link_text_color_hover",
        "link_text_color_active",
        "link_text_color_visited",
    ),
    "on-yes": ("button_primary_text_color", "button_primary_text_color_hover"),
    "yes-wash": (
        "color_accent_soft",
        "checkbox_label_background_fill_selected",
        "button_secondary_background_fill_hover",
    ),
    "field": (
        "input_background_fill",
        "input_background_fill_focus",
        "input_background_fill_hover",
        "button_secondary_background_fill",
        "checkbox_background_color",
        "checkbox_label_background_fill",
        "checkbox_label_background_fill_hover",
        "block_label_background_fill",
    ),
}
_ACCENT_IN_PYTHON = ("color_accent",)  # has no dark twin


def theme() -> Any:
    """Return Gradio's plainest theme in limner's palette and the system's fonts."""
    import gradio as gr

    plain = gr.themes.Base(font=list(FONTS), font_mono=list(MONO))
    values: dict[str, str] = {
        "block_label_border_width": "0px",
        "block_shadow": "none",
        "button_border_width": "1px",
        "block_label_shadow": "none",
        "input_shadow": "none",
        "input_border_width": "1px",
        "input_shadow_focus": "0 0 0 2px " + "var(--color-accent)",
        "button_primary_shadow": "none",
        "block_radius": "8px",
        "input_radius": "6px",
        "button_large_radius": "6px",
        "button_small_radius": "6px",
        "button_medium_radius": "6px",
        "block_title_text_weight": "600",
        "body_text_size": "16px",
        "checkbox_label_text_color_selected": LIGHT["ink"],
        "checkbox_label_text_color_selected_dark": DARK["ink"],
    }
    for colour, names in _SAME.items():
        for name in names:
            values[name] = LIGHT[colour]
            if name not in _ACCENT_IN_PYTHON:
                values[f"{name}_dark"] = DARK[colour]
    return plain.set(**values)


def style_sheet() -> str:
    """Return the palette as CSS variables, and the page's own rules."""
    light = " ".join(f"--l-{name}: {value};" for name, value in LIGHT.items())
    dark = " ".join(f"--l-{name}: {value};" for name, value in DARK.items())
    rules = resources.files("limner.studio") / "static" / "page.css"
    return (
        f":root {{ {light} }}\n.dark {{ {dark} }}\n"
        ":root, .dark, .gradio-container { --color-accent: var(--l-yes) !important; }\n"
        f"{rules.read_text('utf-8')}"
    )


def script(name: str) -> str:
    """Return one of the page's own scripts."""
    return (resources.files("limner.studio") / "static" / name).read_text("utf-8")
