//! The Python of the interop tests exists, with the exact versions that they were written for.

use celeriac_servers::PythonEnvironment;

#[test]
fn the_environment_has_the_celery_that_was_asked_for() {
    let environment = PythonEnvironment::obtain().unwrap();
    assert_eq!(environment.version("celery").unwrap(), "5.7.0");
    assert_eq!(environment.version("kombu").unwrap(), "5.7.0");
}

#[test]
fn two_that_ask_at_once_get_the_same_environment() {
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(|| PythonEnvironment::obtain().unwrap());
        [PythonEnvironment::obtain().unwrap(), other.join().unwrap()]
    });
    assert_eq!(found[0].python(), found[1].python());
}
