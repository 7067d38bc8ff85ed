//! Celeriac measured beside the bare clients it is built on.
