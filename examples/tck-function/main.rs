//! Serves the conformance suite's model services at `HOST`:`PORT`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    examples::function::run(examples::tck_function::function()).await
}
