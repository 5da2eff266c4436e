"""A schedule of one's own: many activations near the input, few near the outputs."""


def fibonacci():
    """Keep the activations of layers 1, 2, 3, 5, 8 and so on, and all of a segment that is recomputed."""

    def schedule(chain):
        kept, layer, following = {0}, 1, 2
        while layer < chain.depth:
            kept.add(layer)
            layer, following = following, layer + following

        def keep(cached, start, stop):
            return kept if stop == chain.depth else {*cached, *range(start + 1, stop + 1)}

        return keep

    return schedule
