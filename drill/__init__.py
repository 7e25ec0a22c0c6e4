"""The drill: a box in namespaces of its own, brought up, broken, cut off and brought up again."""
