//! The parts of a task: names, parameters, defaults, options, and how it runs.

use std::time::Duration;

use celeriac::protocol::{Arguments, Map, Value};
use celeriac::settings::TrackedStates;
use celeriac::{
    AckMode, Celeriac, ErrorClass, FieldPaths, IntoTaskDefinition, RateLimit, RetryAnswer, RetryPolicy, RetryRule,
    RetryRules, Task, TaskContext, TaskDefinition, TaskError, TaskOptions, TaskResult, Tasks, TimeLimit, task, tasks,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    order: uuid::Uuid,
    cents: i64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
enum Shipping {
    #[default]
    Parcel,
    Drone {
        height: u32,
    },
}

/// Charges.
#[task(name = "orders.charge", max_retries = 5, retry_backoff = "1s..2m")]
async fn charge(
    ctx: TaskContext,
    order: uuid::Uuid,
    #[default(1_299)] mut cents: i64,
    #[default("eur")] currency: String,
    #[default] shipping: Shipping,
    #[default(Shipping::Drone { height: 9 })] back: Shipping,
    note: Option<String>,
) -> TaskResult<Receipt> {
    cents += i64::from(ctx.attempt());
    let _ = (currency, shipping, back, note);
    Ok(Receipt { order, cents })
}

#[task]
fn parse(text: String, r#type: Option<u8>) -> Result<i64, std::num::ParseIntError> {
    text.parse().map(|number: i64| number + i64::from(r#type.unwrap_or_default()))
}

#[task]
async fn nothing() -> TaskResult<()> {
    Ok(())
}

/// The price of an article.
#[task(name = "catalog.price", queue = "celery")]
pub async fn price(article: String, #[default(1)] pieces: u32) -> i64;

#[test]
fn a_task_of_another_program_is_called_like_any_other() {
    let call: celeriac::Call<price> = price("teapot".to_owned(), 2);
    let signature = call.signature().unwrap();
    assert_eq!(
        (signature.task.as_str(), signature.args),
        ("catalog.price", vec![Value::from("teapot"), Value::Int(2)])
    );
    assert_eq!(price::options().queue, Some("celery"));
    assert_eq!(bind::<price>(&[Value::from("cup")], &[]).unwrap(), ("cup".to_owned(), 1));
    let _: Option<<price as Task>::Output> = Some(7_i64);
}

fn bind<T: Task>(args: &[Value], kwargs: &[(&str, Value)]) -> Result<T::Args, String> {
    let kwargs: Map = kwargs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    T::Args::bind(T::parameters(), args.to_vec(), kwargs).map_err(|error| error.to_string())
}

#[test]
fn a_name_is_the_one_given_or_that_of_package_and_function() {
    assert_eq!(charge::NAME, "orders.charge");
    assert_eq!(parse::NAME, "celeriac-macros.parse");
}

#[test]
fn parameters_are_the_arguments_without_the_context() {
    let names =
        |parameters: &[celeriac::protocol::Parameter]| parameters.iter().map(|known| known.name).collect::<Vec<_>>();
    assert_eq!(names(charge::parameters()), ["order", "cents", "currency", "shipping", "back", "note"]);
    assert_eq!(names(parse::parameters()), ["text", "type"]);
    assert!(nothing::parameters().is_empty());
}

#[test]
fn an_underscore_is_no_part_of_a_name_in_a_message_and_a_name_may_be_given() {
    #[expect(clippy::just_underscores_and_digits, reason = "a name that stays as it is")]
    #[task]
    async fn ship(_expires: u64, __padded: u8, _1: u8, #[name("order-id")] order: u64) -> TaskResult<()> {
        let _ = order;
        Ok(())
    }
    let names: Vec<_> = ship::parameters().iter().map(|known| known.name).collect();
    assert_eq!(names, ["expires", "_padded", "_1", "order-id"]);
    let kwargs = [("expires", 1), ("_padded", 2), ("_1", 3), ("order-id", 4)];
    assert_eq!(bind::<ship>(&[], &kwargs.map(|(name, value)| (name, Value::Int(value)))), Ok((1, 2, 3, 4)));
}

const PREFIX: &str = "shop.";
const LEDGER: &str = "ledger";

#[test]
fn a_name_and_its_prefix_may_be_constants() {
    #[task(prefix = PREFIX)]
    async fn r#box() -> TaskResult<()> {
        Ok(())
    }
    #[task(name = LEDGER)]
    async fn book() -> TaskResult<()> {
        Ok(())
    }
    #[task(prefix = PREFIX, name = concat!("orders", ".", "ship"))]
    async fn ship() -> TaskResult<()> {
        Ok(())
    }
    #[task(prefix = "catalog.")]
    fn price(article: String) -> i64;
    assert_eq!([r#box::NAME, book::NAME, ship::NAME], ["shop.box", "ledger", "shop.orders.ship"]);
    assert_eq!((price::NAME, price::parameters().len()), ("catalog.price", 1));
    let _ = price("cup".to_owned());
}

#[test]
fn the_rest_of_the_arguments_is_sent_and_bound_as_in_python() {
    #[task]
    async fn audit(event: String, #[rest] args: Vec<i64>, #[rest] kwargs: Map) -> TaskResult<usize> {
        let _ = event;
        Ok(args.len() + kwargs.len())
    }
    let kwargs: Map = [("x".to_owned(), Value::Null)].into_iter().collect();
    let event = Value::from("login");
    let given = ("login".to_owned(), vec![1, 2], kwargs.clone());
    let signature = audit(given.0.clone(), given.1.clone(), kwargs.clone()).signature().unwrap();
    assert_eq!((&signature.args[..], &signature.kwargs), (&[event.clone(), 1.into(), 2.into()][..], &kwargs));
    let bound = bind::<audit>(&signature.args, &[("x", Value::Null)]);
    assert_eq!(bound, Ok(given), "an argument that is null is there");
    assert_eq!(bind::<audit>(&[event], &[]), Ok(("login".to_owned(), Vec::new(), Map::new())));
    let twice: Map = [("event".to_owned(), Value::Null)].into_iter().collect();
    let error = audit(String::new(), Vec::new(), twice).signature().unwrap_err().to_string();
    assert!(error.contains("argument `event` is given twice"), "{error}");
}

#[test]
fn the_tasks_of_modules_are_put_together() {
    fn of_a_module() -> Tasks {
        tasks![charge]
    }
    let names = |tasks: Tasks| tasks.iter().map(|task| task.name).collect::<Vec<_>>();
    assert_eq!(names(of_a_module().and(tasks![parse, nothing])), [charge::NAME, parse::NAME, nothing::NAME]);
    let mut all = Tasks::new();
    assert!(all.is_empty());
    all.extend(of_a_module());
    assert_eq!(
        (all.len(), names([all, tasks![nothing]].into_iter().flatten().collect())),
        (1, vec![charge::NAME, nothing::NAME])
    );
    assert!(tasks![].is_empty());
}

#[test]
fn tasks_of_one_name_are_reported_with_the_places_of_their_definitions() {
    mod other {
        use celeriac::{TaskResult, task};

        pub(super) const LINE: u32 = line!() + 2;

        #[task(name = "orders.charge")]
        pub(super) fn charge() -> TaskResult<()> {
            Ok(())
        }
    }
    let problem = |tasks: Tasks| Celeriac::builder().tasks(tasks).build().unwrap_err().to_string();
    let place = |task: &TaskDefinition| {
        assert_eq!(task.defined_at().file(), file!());
        format!("{}:{}", file!(), task.defined_at().line())
    };
    let places = [charge::definition(), other::charge::definition()].map(|task| place(&task));
    assert_ne!(places[0], places[1]);
    assert!(places[1].ends_with(&format!(":{}", other::LINE)), "{places:?}");
    let told = problem(tasks![charge, other::charge]);
    assert!(
        told.contains(&format!("two tasks have the name `orders.charge`: at {} and at {}", places[0], places[1])),
        "{told}"
    );
    let told = problem(tasks![charge, nothing].and(tasks![charge]));
    assert!(told.contains(&format!("task `orders.charge` is listed twice; it is defined at {}", places[0])), "{told}");
}

#[test]
fn an_absent_argument_has_its_default() {
    let order = uuid::Uuid::from_u128(7);
    let given = Value::from(order.to_string());
    let defaults = (order, 1_299, "eur".to_owned(), Shipping::Parcel, Shipping::Drone { height: 9 }, None);
    assert_eq!(bind::<charge>(std::slice::from_ref(&given), &[]), Ok(defaults));

    let some =
        bind::<charge>(&[given, Value::Int(5)], &[("note", Value::from("gift")), ("currency", Value::from("chf"))]);
    let expected =
        (order, 5, "chf".to_owned(), Shipping::Parcel, Shipping::Drone { height: 9 }, Some("gift".to_owned()));
    assert_eq!(some, Ok(expected));

    assert_eq!(bind::<charge>(&[], &[]), Err("missing argument `order`".to_owned()));
    assert_eq!(bind::<parse>(&[], &[("type", Value::Int(2))]), Err("missing argument `text`".to_owned()));
    assert_eq!(bind::<nothing>(&[], &[]), Ok(()));
}

#[test]
fn options_are_those_declared() {
    assert_eq!(parse::options(), TaskOptions::default());

    let seconds = Duration::from_secs;
    let retry = RetryPolicy::backoff(seconds(1), seconds(120)).times(5);
    assert_eq!(charge::options(), TaskOptions { retry, ..TaskOptions::default() });

    #[task(
        queue = "mail",
        priority = 7,
        max_retries = none,
        retry_backoff = "250ms..1h 30m",
        retry_jitter = 0.25,
        acks = "early",
        ignore_result = true,
        track = "sent",
        redact = ["card", "customer.email"],
        expires = "2d",
        time_limit = "1m",
        soft_time_limit = none,
        rate_limit = "100/m",
        crash_limit = 3
    )]
    async fn every_option() -> TaskResult<()> {
        Ok(())
    }
    let every = TaskOptions {
        queue: Some("mail"),
        priority: Some(7),
        retry: RetryPolicy {
            max_retries: None,
            first: Duration::from_millis(250),
            factor: 2.0,
            cap: seconds(5_400),
            jitter: 0.25,
        },
        retry_rules: RetryRules::default(),
        retry_within: None,
        acks: AckMode::Early,
        ignore_result: true,
        track: Some(TrackedStates::Sent),
        redact: Some(FieldPaths::of(&["card", "customer.email"])),
        expires: Some(seconds(172_800)),
        time_limit: Some(TimeLimit::After(seconds(60))),
        soft_time_limit: Some(TimeLimit::Never),
        rate_limit: Some(RateLimit::per_minute(100)),
        crash_limit: Some(3),
    };
    assert_eq!(every_option::options(), every);
}

#[test]
fn durations_are_those_of_the_configuration() {
    #[task(retry_backoff = "0s..0s", retry_within = "2 hours", expires = "1ms 500us 7ns", time_limit = "none")]
    async fn precise() -> TaskResult<()> {
        Ok(())
    }
    let options = precise::options();
    assert_eq!([options.retry.first, options.retry.cap], [Duration::ZERO; 2]);
    assert_eq!(options.retry_within, Some(Duration::from_secs(7_200)));
    assert_eq!(options.expires, Some(Duration::from_nanos(1_500_007)));
    assert_eq!(options.time_limit, Some(TimeLimit::Never));
}

#[test]
fn each_half_of_a_retry_policy_brings_the_other() {
    #[task(max_retries = 7)]
    async fn often() -> TaskResult<()> {
        Ok(())
    }
    #[task(retry_backoff = "5s")]
    async fn evenly() -> TaskResult<()> {
        Ok(())
    }
    let seconds = Duration::from_secs;
    assert_eq!(often::options().retry, RetryPolicy::backoff(seconds(1), seconds(600)).times(7));
    let policy = evenly::options().retry;
    assert_eq!(policy, RetryPolicy::backoff(seconds(5), seconds(5)).times(3));
    assert_eq!([0, 1, 2].map(|retries| policy.wait(retries, 0.0)), [seconds(5); 3]);
}

#[test]
fn celerys_names_of_retries_mean_what_they_mean_there() {
    #[task(retry_backoff = true)]
    async fn from_a_second() -> TaskResult<()> {
        Ok(())
    }
    #[task(retry_backoff = 5, retry_backoff_max = 60, retry_jitter = false, max_retries = 8)]
    async fn from_five() -> TaskResult<()> {
        Ok(())
    }
    #[task(default_retry_delay = 180, max_retries = 2)]
    async fn evenly() -> TaskResult<()> {
        Ok(())
    }
    let seconds = Duration::from_secs;
    let all_by_chance = RetryPolicy { jitter: 1.0, ..RetryPolicy::backoff(seconds(1), seconds(600)) };
    assert_eq!(from_a_second::options().retry, all_by_chance);
    let none_by_chance = RetryPolicy { jitter: 0.0, ..RetryPolicy::backoff(seconds(5), seconds(60)).times(8) };
    assert_eq!(from_five::options().retry, none_by_chance);
    assert_eq!([0, 1].map(|retries| evenly::options().retry.wait(retries, 0.7)), [seconds(180); 2]);
    assert_eq!(evenly::options().retry.max_retries, Some(2));
}

#[derive(Debug)]
struct Declined;

impl std::fmt::Display for Declined {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("declined")
    }
}

impl std::error::Error for Declined {}

#[test]
fn errors_are_tried_again_by_their_kind() {
    #[task(
        max_retries = 4,
        retry_factor = 1.5,
        retry_within = "1h",
        retry_on(
            std::io::Error = "3 times immediately",
            "Throttled" = "5s..1m",
            std::fmt::Error = "9 times",
            Declined = never
        )
    )]
    async fn table() -> TaskResult<()> {
        Ok(())
    }
    let seconds = Duration::from_secs;
    let (minute, ten) = (seconds(60), seconds(600));
    let options = table::options();
    assert_eq!(options.retry, RetryPolicy { factor: 1.5, ..RetryPolicy::backoff(seconds(1), ten).times(4) });
    assert_eq!(options.retry_within, Some(seconds(3_600)));
    let by = |kind| options.retry_rules.policy(kind, options.retry);
    let at_once = by("io::Error").unwrap();
    assert_eq!((at_once.wait(2, 0.5), at_once.max_retries), (Duration::ZERO, Some(3)));
    assert_eq!(by("Throttled"), Some(RetryPolicy::backoff(seconds(5), minute).times(4)));
    assert_eq!(by("fmt::Error"), Some(RetryPolicy::backoff(seconds(1), ten).times(9)));
    assert_eq!((by("Declined"), by("Panic")), (None, Some(options.retry)));

    #[task(autoretry_for = [std::io::Error, "Busy"], dont_autoretry_for = [Declined])]
    async fn some() -> TaskResult<()> {
        Ok(())
    }
    let rule = |class, answer| RetryRule { class, answer };
    let rules = [
        rule(ErrorClass::of::<Declined>(), RetryAnswer::Never),
        rule(ErrorClass::Kind("io::Error"), RetryAnswer::AsTask),
        rule(ErrorClass::Kind("Busy"), RetryAnswer::AsTask),
    ];
    assert_eq!(some::options().retry_rules.rules, rules);
    assert_eq!(some::options().retry_rules.others, RetryAnswer::Never);
    assert_eq!(some::options().retry, RetryPolicy::backoff(seconds(1), ten).times(3));

    #[task(retry_on(Declined = "1s"))]
    async fn one_alone() -> TaskResult<()> {
        Ok(())
    }
    let options = one_alone::options();
    let policies = ["Declined", "Panic"].map(|kind| options.retry_rules.policy(kind, options.retry));
    let own = RetryPolicy::backoff(seconds(1), seconds(1)).times(3);
    assert_eq!(policies, [Some(own), Some(RetryPolicy::never())]);
}

#[test]
fn a_plain_function_is_a_blocking_task() {
    let listed = tasks![charge, parse];
    assert_eq!(
        listed.iter().map(|task| (task.name, task.is_blocking())).collect::<Vec<_>>(),
        [("orders.charge", false), ("celeriac-macros.parse", true)]
    );
    assert_eq!(parse::definition().name, parse::NAME);
}

#[test]
fn the_function_itself_remains_within_reach() {
    assert_eq!(parse::parse("5".to_owned(), Some(1)).map_err(TaskError::from).unwrap(), 6);
    let failure = parse::parse("five".to_owned(), None).map_err(TaskError::from).unwrap_err();
    assert_eq!(failure.failure().kind, "ParseIntError");
}

#[test]
fn a_call_carries_the_arguments() {
    let call = format!("{:?}", parse("5".to_owned(), None));
    assert!(call.contains("celeriac-macros.parse"), "{call}");
}
