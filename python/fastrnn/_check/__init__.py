"""Every check of an argument and every sentence that refuses one, in one place.

The functions return the argument in the form the engine reads. The sentences read: *function:
argument has ..., expected ... (formula = numbers); what to do*. ValueError is for shapes and
values, TypeError for dtypes and types.
"""
