"""What hardware costs: area and energy per action of a component at a technology node.

    class name + attributes ──component()──► Component(area_um2, energy_pj per action, node, kind, sources)

A component is a class name, attributes and actions, as in Accelergy (Wu et al., ICCAD 2019). The numbers live in
`cost_models/published/` as data with their citations; the modules here hold the laws that turn them into components.
How often an action happens is not known here: that is what the timing models in `sim` count.
"""

from cost_models.component import Component, ComponentClass, CostKind
from cost_models.figures import PublishedFigure, published_figures
from cost_models.library import component, component_classes

__all__ = [
    "Component",
    "ComponentClass",
    "CostKind",
    "PublishedFigure",
    "component",
    "component_classes",
    "published_figures",
]
