//! Tasks may be made by a macro.

use celeriac::{Task, TaskContext, TaskResult, task};

macro_rules! greeting {
    ($name:ident, $wire:literal, $retries:expr, $context:ty, $argument:ident: $type:ty = $default:expr) => {
        #[task(name = $wire, max_retries = $retries)]
        pub async fn $name(_: $context, #[default($default)] $argument: $type) -> TaskResult<$type> {
            Ok($argument)
        }
    };
}

greeting!(hello, "greet.hello", 2, TaskContext, guest: String = "you");
greeting!(goodbye, "greet.goodbye", none, TaskContext, after: u32 = 60);

fn main() {
    assert_eq!([hello::NAME, goodbye::NAME], ["greet.hello", "greet.goodbye"]);
    assert_eq!(hello::options().retry.max_retries, Some(2));
    assert_eq!(goodbye::options().retry.max_retries, None);
    let _ = (hello("Ada".to_owned()), goodbye(5));
}
