//! A model of a worker: arrivals, delays of whole seconds, and one queue of waiting tasks.

use std::collections::BinaryHeap;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// An arrival. The earliest one compares as the greatest, for a heap.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TimedArrival {
    at: std::cmp::Reverse<Instant>,
    number: std::cmp::Reverse<usize>,
    rounds: u32,
}

/// The record of a run.
#[derive(Debug, Default)]
struct Story {
    /// Time of each start, from the beginning.
    starts: Vec<Duration>,
    /// Order of the starts.
    order: Vec<usize>,
    rounds: Vec<u32>,
    longest_line: u32,
}

/// Runs `count` tasks that all arrive at the beginning. Each return is late by up to `late`
/// milliseconds.
fn run(mut schedule: RateSchedule, begin: Instant, count: usize, mut late: impl FnMut() -> u32) -> Story {
    let mut story = Story::default();
    let arrival =
        |number, at, rounds| TimedArrival { at: std::cmp::Reverse(at), number: std::cmp::Reverse(number), rounds };
    let mut arrivals: BinaryHeap<_> = (0..count).map(|number| arrival(number, begin, 0)).collect();
    let mut line = std::collections::VecDeque::new();
    let mut now = begin;
    while !arrivals.is_empty() || !line.is_empty() {
        let next_start = line.front().map(|_| schedule.next.max(now));
        match (arrivals.peek().map(|arrival| arrival.at.0), next_start) {
            (Some(at), start) if start.is_none_or(|start| at <= start) => {
                now = now.max(at);
                let Some(TimedArrival { number, rounds, .. }) = arrivals.pop() else { break };
                match schedule.reserve(rounds > 0, true, now) {
                    RateDecision::Wait => line.push_back((number.0, rounds)),
                    RateDecision::Requeue(wait) => {
                        let whole = Duration::from_secs(wait.as_secs()) + MILLISECOND * late();
                        arrivals.push(arrival(number.0, now + whole, rounds + 1));
                    }
                }
            }
            (_, start) => {
                now = start.unwrap_or(now);
                let Some((number, rounds)) = line.pop_front() else { break };
                schedule.line -= 1;
                schedule.start(now);
                story.starts.push(now - begin);
                story.order.push(number);
                story.rounds.push(rounds);
            }
        }
        story.longest_line = story.longest_line.max(schedule.line);
    }
    story
}

fn fresh(rate: RateLimit) -> (RateSchedule, Instant) {
    let begin = Instant::now();
    (RateSchedule::new(rate, begin), begin)
}

#[test]
fn two_starts_are_never_closer_than_the_rate_says() {
    let (schedule, begin) = fresh(RateLimit::per_second(10));
    let mut chance = fastrand::Rng::with_seed(5);
    let story = run(schedule, begin, 500, || chance.u32(0..200));
    assert_eq!(story.starts.len(), 500);
    assert!(story.starts.windows(2).all(|pair| pair[1] - pair[0] >= MILLISECOND * 100));
    assert!(story.longest_line <= 10, "{}", story.longest_line);
}

#[test]
fn ten_thousand_waiting_tasks_are_requeued_once_each() {
    let (schedule, begin) = fresh(RateLimit::per_second(100));
    let story = run(schedule, begin, 10_000, || 0);
    assert!(story.rounds.iter().all(|rounds| *rounds <= 1), "{:?}", story.rounds.iter().max());
    let last = story.starts.last().unwrap();
    assert!(*last < Duration::from_secs(101), "no time is lost: {last:?}");
}

#[test]
fn a_broker_that_is_late_now_and_then_costs_few_more_rounds() {
    let (schedule, begin) = fresh(RateLimit::per_second(100));
    let mut chance = fastrand::Rng::with_seed(7);
    let story = run(schedule, begin, 10_000, || chance.u32(0..50));
    let rounds: u32 = story.rounds.iter().sum();
    assert!(rounds < 20_000, "{rounds}");
    assert!(*story.starts.last().unwrap() < Duration::from_secs(110));
}

#[test]
fn the_order_is_roughly_kept() {
    let (schedule, begin) = fresh(RateLimit::per_second(10));
    let story = run(schedule, begin, 300, || 0);
    let strays = story.order.iter().enumerate().filter(|(start, number)| start.abs_diff(**number) > 20).count();
    assert_eq!(strays, 0, "{:?}", story.order);
}

#[test]
fn tasks_that_return_together_start_apart() {
    let (mut schedule, begin) = fresh(RateLimit::per_second(10));
    let waits: Vec<_> = (0..100)
        .filter_map(|_| match schedule.reserve(true, true, begin) {
            RateDecision::Wait => None,
            RateDecision::Requeue(wait) => Some(wait),
        })
        .collect();
    assert_eq!(waits.len(), 90);
    assert!(waits.windows(2).all(|pair| pair[1] - pair[0] == MILLISECOND * 100));
    assert_eq!(waits[0], Duration::from_secs(1));
}

#[test]
fn a_returned_task_of_a_slow_rate_is_not_requeued_each_second() {
    let (mut schedule, begin) = fresh(RateLimit::per_hour(5));
    assert_eq!(schedule.reserve(true, true, begin), RateDecision::Wait);
    schedule.line -= 1;
    schedule.start(begin);
    assert_eq!(schedule.reserve(true, true, begin), RateDecision::Requeue(Duration::from_secs(720)));
}

#[test]
fn without_room_a_task_is_requeued() {
    let (mut schedule, begin) = fresh(RateLimit::per_second(10));
    assert_eq!(schedule.reserve(false, false, begin), RateDecision::Requeue(Duration::from_secs(1)));
    assert_eq!(schedule.line, 0);
}

#[test]
fn a_new_rate_moves_the_starts_that_are_not_assigned() {
    let (mut schedule, begin) = fresh(RateLimit::per_second(10));
    for _ in 0..100 {
        schedule.reserve(false, true, begin);
    }
    let mut faster = schedule.clone();
    faster.change(RateLimit::per_second(100), begin);
    assert_eq!(faster.reserve(false, true, begin), RateDecision::Requeue(Duration::from_secs(1)));
    schedule.change(RateLimit::per_second(1), begin);
    assert_eq!(schedule.reserve(false, true, begin), RateDecision::Requeue(Duration::from_secs(100)));
}
