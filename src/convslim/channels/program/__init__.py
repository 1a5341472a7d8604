"""A model as a graph whose numbers can be rewritten: the second way to carry a plan out.

Some channel counts are numbers in the user's Python code, ``torch.split(x, [48, 176])``. No setting of tensors or
attributes changes them. ``torch.export`` writes the code down as a graph of the same ATen operations that a trace
records, so that the labels of a trace say what each of its numbers counts. A *program* is such a graph as data
(:class:`~convslim.channels.program.assemble.Program`) and as a ``torch.fx.GraphModule`` over the model's own tensors.
"""
