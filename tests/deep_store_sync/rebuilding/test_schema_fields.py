from __future__ import annotations

from tests.deep_store_sync.pinot_segments import schema

from deep_store_sync.rebuilding.schema_fields import SchemaField, schema_fields


def test_sections_are_kinds_of_fields() -> None:
    fields = schema_fields(schema(city={"notNull": True}))
    assert fields["city"] == SchemaField("city", "DIMENSION", "STRING", single_value=True, not_null=True)
    assert fields["tags"] == SchemaField("tags", "DIMENSION", "STRING", single_value=False)
    assert fields["price"] == SchemaField("price", "METRIC", "DOUBLE", single_value=True)
    assert fields["ts"] == SchemaField("ts", "DATE_TIME", "LONG", single_value=True)


def test_time_spec_of_old_schemas() -> None:
    spec = {"incomingGranularitySpec": {"name": "day", "dataType": "INT", "timeType": "DAYS"}}
    field = schema_fields({"timeFieldSpec": spec})["day"]
    assert (field.field_type, field.data_type, field.single_value) == ("TIME", "INT", True)
