"""The columns of a schema, whatever section they are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FIELD_TYPES = {
    "dimensionFieldSpecs": "DIMENSION",
    "metricFieldSpecs": "METRIC",
    "dateTimeFieldSpecs": "DATE_TIME",
    "complexFieldSpecs": "COMPLEX",
}


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A column as the schema wants it, in Pinot's names."""

    name: str
    field_type: str
    data_type: str
    single_value: bool
    not_null: bool = False


def schema_fields(schema: Mapping[str, Any]) -> dict[str, SchemaField]:
    """The columns of a schema, by name."""
    fields = {
        spec["name"]: SchemaField(
            spec["name"],
            field_type,
            str(spec.get("dataType", "")).upper(),
            spec.get("singleValueField") is not False,
            spec.get("notNull") is True,
        )
        for key, field_type in _FIELD_TYPES.items()
        for spec in schema.get(key) or ()
    }
    if time := schema.get("timeFieldSpec"):  # of old schemas
        spec = time.get("outgoingGranularitySpec") or time["incomingGranularitySpec"]
        fields[spec["name"]] = SchemaField(spec["name"], "TIME", str(spec["dataType"]).upper(), True)
    return fields
