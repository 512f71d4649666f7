//! The part of JSON Schema that the schemas beside this file use.

use serde_json::Value;

/// Holds a value against a schema.
///
/// # Panics
/// If it does not conform; says where.
#[track_caller]
pub(crate) fn conforms(value: &Value, schema: &str) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    if let Err(fault) = check(value, &schema, &schema["definitions"], "") {
        panic!("{fault}\n{value:#}");
    }
}

fn check(value: &Value, schema: &Value, definitions: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema.get("$ref") {
        return check(value, &definitions[name.as_str().unwrap()], definitions, at);
    }
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "type" => {
                let is = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("unknown type {other}"),
                };
                if !is {
                    return Err(format!("{at}: not of type {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return Err(format!("{at}: {value} is none of {rule}"));
            }
            "minimum" if value.as_u64() < rule.as_u64() => {
                return Err(format!("{at}: below {rule}"));
            }
            "required" => {
                let mut keys = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|key| key.as_str().unwrap());
                if let Some(missing) = keys.find(|key| value.get(key).is_none()) {
                    return Err(format!("{at}: {missing} is missing"));
                }
            }
            "items" => {
                for (index, element) in value.as_array().unwrap().iter().enumerate() {
                    check(element, rule, definitions, &format!("{at}/{index}"))?;
                }
            }
            "oneOf" => {
                let schemas = rule.as_array().unwrap();
                let results: Vec<_> = schemas
                    .iter()
                    .map(|schema| check(value, schema, definitions, at))
                    .collect();
                if results.iter().filter(|result| result.is_ok()).count() != 1 {
                    return Err(format!("{at}: is not one of {results:#?}"));
                }
            }
            "properties"
            | "additionalProperties"
            | "enum"
            | "minimum"
            | "definitions"
            | "description" => {}
            other => panic!("unknown keyword {other}"),
        }
    }
    for (key, element) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match (
            schema.get("properties").and_then(|p| p.get(key)),
            schema.get("additionalProperties"),
        ) {
            (Some(rule), _) => check(element, rule, definitions, &at)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{at}: is not known")),
            (None, Some(rule @ Value::Object(_))) => check(element, rule, definitions, &at)?,
            (None, _) => {}
        }
    }
    Ok(())
}

#[test]
fn a_value_that_does_not_conform_is_refused() {
    let task =
        r#"{"version": "2.0.0", "tasks": [{"label": "x", "type": "process", "command": "y"}]}"#;
    let schema: Value = serde_json::from_str(include_str!("schemas/tasks.json")).unwrap();
    let value: Value = serde_json::from_str(task).unwrap();
    let fault = check(&value, &schema, &schema["definitions"], "").unwrap_err();
    assert!(
        fault.contains("/tasks/0: isBackground is missing"),
        "{fault}"
    );
}
