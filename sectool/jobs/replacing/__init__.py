"""The part that could lose mail: the order of acts in which a new copy replaces an old one."""
