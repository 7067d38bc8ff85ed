//! A task may stand in a function, have a raw name, twelve arguments, or none, and call itself.

use celeriac::{Call, TaskContext, TaskDefinition, TaskError, TaskResult, task, tasks};

#[task]
async fn r#loop(ctx: TaskContext, r#type: String, left: u32) -> TaskResult<()> {
    if left > 0 {
        let again: Call<r#loop> = r#loop(r#type, left - 1);
        again.submit(ctx.client()).await.map_err(TaskError::from_boxed)?;
    }
    Ok(())
}

// Names that the expansion uses itself.
#[task]
async fn run(context: u8, args: u8, returned: u8, default: u8) -> TaskResult<u8> {
    Ok(context + args + returned + default)
}

#[task]
fn definition(#[default(ANSWER)] value: u8) -> Result<u8, std::num::ParseIntError> {
    Ok(value)
}

const ANSWER: u8 = 42;

#[task]
#[expect(clippy::too_many_arguments, reason = "as many as there may be")]
async fn twelve(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8) -> TaskResult<u8> {
    Ok(a + b + c + d + e + f + g + h + i + j + k + l)
}

fn main() {
    #[task(name = "inner")]
    async fn inner() -> TaskResult<()> {
        Ok(())
    }

    let listed = tasks![r#loop, run, definition, twelve, inner,];
    let names: Vec<_> = listed.iter().map(|task| task.name.rsplit('.').next().unwrap()).collect();
    assert_eq!(names, ["loop", "run", "definition", "twelve", "inner"]);
    let none: Vec<TaskDefinition> = tasks![].into_iter().collect();
    assert!(none.is_empty());
    let _ = (r#loop(String::new(), 1), run(1, 2, 3, 4), definition(5), inner());
}
