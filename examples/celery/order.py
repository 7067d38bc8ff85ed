"""A Python service that calls tasks in Rust."""

import uuid

from celery import chain

from shop import app, discount, note

# Tasks of the Rust half, by name.
charge = app.signature("billing.charge")
receipt = app.signature("billing.receipt")

if __name__ == "__main__":
    order = uuid.UUID("11111111-2222-3333-4444-555555555555")

    charged = charge.clone((order, 1299)).apply_async(link=note.s("charged"))
    print("charged:", charged.get(timeout=30))
    print("task id:", charged.id)

    # An exception from Rust. The task named a class of Python, so Python raises that class.
    declined = charge.clone((order, 5_000_000)).apply_async(link_error=note.s("declined"))
    try:
        declined.get(timeout=30)
    except ValueError as error:
        print("declined:", repr(error))

    # Python, then Rust.
    steps = chain(discount.s(1299, 10), receipt.clone(("Ada",)))
    print("receipt:", steps.apply_async().get(timeout=30))
