//! The way of any call by any routes, against the definition.

use proptest::prelude::*;

use super::*;

const QUEUES: [&str; 3] = ["reports", "mail", "audit"];

/// The one that decides for a route.
#[derive(Debug, Clone, Copy)]
enum Says {
    Queue(&'static str),
    /// The exchange `orders`, with this key.
    Key(&'static str),
    /// A function that chooses a queue for tasks whose name ends in this letter, and passes others
    /// on.
    Function(char, &'static str),
}

/// Returns true if a pattern is for a name, by the pattern's letter.
type IsFor = fn(&str, char) -> bool;

/// A pattern as it is written, with the answer whether it is for a name.
type Shape = (fn(char) -> String, IsFor);

/// A pattern, and whether it is for a name: said once more, without the code that is tested.
fn pattern() -> impl Strategy<Value = (String, IsFor, char)> {
    let letter = prop::sample::select(vec!['a', 'b', 'c']);
    let shape: Vec<Shape> = vec![
        (|letter| format!("{letter}.{letter}"), |name, letter| name == format!("{letter}.{letter}")),
        (|letter| format!("{letter}.*"), |name, letter| name.starts_with(&format!("{letter}."))),
        (|letter| format!("?.{letter}"), |name, letter| name.len() == 3 && name.ends_with(&format!(".{letter}"))),
        (|letter| format!("/[^{letter}].*/"), |name, letter| !name.starts_with(letter)),
        (|_| "*".to_owned(), |_, _| true),
    ];
    (letter, prop::sample::select(shape)).prop_map(|(letter, (write, is_for))| (write(letter), is_for, letter))
}

fn says() -> impl Strategy<Value = Says> {
    let queue = || prop::sample::select(QUEUES.to_vec());
    prop_oneof![
        queue().prop_map(Says::Queue),
        prop::sample::select(vec!["billing.x", "y.charge"]).prop_map(Says::Key),
        (prop::sample::select(vec!['a', 'b', 'c']), queue()).prop_map(|(last, queue)| Says::Function(last, queue)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[abc]\\.[abc]{1,2}"
}

/// `exchange/key` by the definition: the call, the first matching route, the task, the default.
fn model(lines: &[((String, IsFor, char), Says)], name: &str, call: Option<&str>, declared: Option<&str>) -> String {
    let mut said =
        lines.iter().filter(|((_, is_for, letter), _)| is_for(name, *letter)).filter_map(|(_, says)| match says {
            Says::Queue(queue) => Some(format!("/{queue}")),
            Says::Key(key) => Some(format!("orders/{key}")),
            Says::Function(last, queue) => name.ends_with(*last).then(|| format!("/{queue}")),
        });
    let otherwise = || said.next().unwrap_or_else(|| format!("/{}", declared.unwrap_or("celeriac")));
    call.map(|queue| format!("/{queue}")).unwrap_or_else(otherwise)
}

proptest! {
    #[test]
    fn the_first_line_that_is_for_a_call_and_says_wins(
        lines in prop::collection::vec((pattern(), says()), 0..6),
        names in prop::collection::vec(name(), 1..12),
        call in prop::option::weighted(0.2, prop::sample::select(QUEUES.to_vec())),
        declared in prop::option::of(prop::sample::select(QUEUES.to_vec())),
    ) {
        let mut functions = RouteFunctions::default();
        let task_routes = lines.iter().enumerate().map(|(index, ((pattern, ..), says))| match *says {
            Says::Queue(queue) => TaskRoute { queue: text(queue), ..route(pattern) },
            Says::Key(key) => TaskRoute { exchange: text("orders"), routing_key: text(key), ..route(pattern) },
            Says::Function(last, queue) => {
                let answer = move |call: &RouteRequest<'_>| call.task.ends_with(last).then(|| RouteDecision::queue(queue));
                functions = std::mem::take(&mut functions).with(format!("f{index}"), Arc::new(answer));
                TaskRoute { function: Some(format!("f{index}")), ..route(pattern) }
            }
        });
        let options = RoutesOptions { task_routes: task_routes.collect(), ..options() };
        // Lines that are never reached are refused, and nothing else is wrong with any.
        prop_assume!(options.validate().is_empty());
        let router = Router::new(&options).unwrap().with_functions(&functions).unwrap();
        let said = CallRoute { queue: call.map(str::to_owned), ..CallRoute::default() };
        for name in names.iter().chain(&names) {
            let found = router.route(name.as_str(), &said, declared).unwrap();
            let shown = format!("{}/{}", found.exchange, found.routing_key);
            prop_assert_eq!(shown, model(&lines, name, call, declared));
            let topology = router.topology();
            let is_declared = match &*found.exchange {
                "" => topology.queues.contains_key(&found.routing_key),
                exchange => topology.exchanges.contains_key(exchange),
            };
            prop_assert!(is_declared, "{found:?}");
        }
    }
}
