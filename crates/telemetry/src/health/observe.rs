//! Reads the gauges of a program from its parts when metrics are collected.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::gauges::{Gauge, GaugeReading};
use super::sources;

/// Makes the instruments that are read from the parts of the program.
pub(crate) fn observe_gauges(meter: &Meter) {
    for gauge in Gauge::ALL {
        let (name, unit, description) = gauge.declared();
        if gauge.is_sum() {
            let counter = meter.f64_observable_counter(name).with_unit(unit).with_description(description);
            counter.with_callback(move |observer| observe(*gauge, observer)).build();
        } else {
            let instrument = meter.f64_observable_gauge(name).with_unit(unit).with_description(description);
            instrument.with_callback(move |observer| observe(*gauge, observer)).build();
        }
    }
}

fn observe(gauge: Gauge, observer: &dyn AsyncInstrument<f64>) {
    for GaugeReading { queue, value, .. } in readings(gauge) {
        match queue {
            Some(queue) => observer.observe(value, &[KeyValue::new("celeriac.queue", queue)]),
            None => observer.observe(value, &[]),
        }
    }
}

/// Returns the readings of one gauge over all parts, one for each queue.
fn readings(gauge: Gauge) -> Vec<GaugeReading> {
    let mut all = Vec::new();
    for source in sources() {
        source.gauges(&mut all);
        all.push(Gauge::Unready.read(source.unready().len() as f64));
    }
    let mut merged: Vec<GaugeReading> = Vec::new();
    for reading in all.into_iter().filter(|reading| reading.gauge == gauge) {
        match merged.iter_mut().find(|known| known.queue == reading.queue) {
            Some(known) => known.value = gauge.merge(known.value, reading.value),
            None => merged.push(reading),
        }
    }
    merged
}
