"""Every field of Pinot's table config and schema, and whether a segment depends on it.

Read from the source of Pinot 1.5.1: what `SegmentPreProcessor` and its handlers, the creation driver with
`SegmentGeneratorConfig`, and `BaseTableDataManager.isSegmentStale` ask for. A path reads `a.b[].c{}.d`: `[]` for the
members of a list, `{}` for those of an object with names of the user's own.
"""

from __future__ import annotations

from typing import Any

EXAMPLE_TABLE: dict[str, Any] = {
    "tableName": "events_OFFLINE",
    "tableType": "OFFLINE",
    "segmentsConfig": {
        "timeColumnName": "ts",
        "replication": "1",
        "replicaGroupStrategyConfig": {"partitionColumn": "code", "numInstancesPerPartition": 1},
        "completionConfig": {"completionMode": "DOWNLOAD"},
    },
    "tenants": {},
    "metadata": {},
    "tableIndexConfig": {
        "bloomFilterConfigs": {"city": {}},
        "jsonIndexConfigs": {"doc": {}},
        "multiColumnTextIndexConfig": {"columns": ["note"]},
        "segmentPartitionConfig": {"columnPartitionMap": {"code": {"functionName": "Modulo", "numPartitions": 4}}},
        "starTreeIndexConfigs": [
            {
                "dimensionsSplitOrder": ["city", "code"],
                "functionColumnPairs": ["SUM__price"],
                "aggregationConfigs": [{"columnName": "price", "aggregationFunction": "MAX"}],
            }
        ],
    },
    "fieldConfigList": [{"name": "city", "indexes": {}, "properties": {}}],
    "ingestionConfig": {
        "transformConfigs": [{"columnName": "day", "transformFunction": "toEpochDays(ts)"}],
        "aggregationConfigs": [{"columnName": "price", "aggregationFunction": "SUM(price)"}],
        "enrichmentConfigs": [{"enricherType": "clpEncoder", "properties": {}}],
    },
    "upsertConfig": {"mode": "FULL"},
    "dedupConfig": {"dedupEnabled": True},
    "task": {"taskTypeConfigsMap": {"RefreshSegmentTask": {}}},
    "quota": {"storage": "100G"},
    "tunerConfigs": [{"name": "realtimeAutoIndexTuner"}],
    "tierConfigs": [{"name": "cold", "segmentSelectorType": "time", "storageType": "pinot_server"}],
    "tableSamplers": [{"name": "some", "type": "firstN", "properties": {}}],
    "instanceAssignmentConfigMap": {
        "OFFLINE": {
            "tagPoolConfig": {"tag": "DefaultTenant_OFFLINE"},
            "replicaGroupPartitionConfig": {"replicaGroupBased": True},
            "constraintConfig": {"constraints": []},
        }
    },
}
EXAMPLE_SCHEMA: dict[str, Any] = {
    "schemaName": "events",
    "dimensionFieldSpecs": [{"name": "city", "dataType": "STRING"}],
    "metricFieldSpecs": [{"name": "price", "dataType": "BIG_DECIMAL"}],
    "dateTimeFieldSpecs": [
        {"name": "ts", "dataType": "LONG", "format": "EPOCH|MILLISECONDS", "granularity": "1:MILLISECONDS"}
    ],
    "timeFieldSpec": {
        "incomingGranularitySpec": {"name": "hours", "dataType": "LONG", "timeType": "HOURS"},
        "outgoingGranularitySpec": {"name": "days", "dataType": "INT", "timeType": "DAYS"},
    },
    "complexFieldSpecs": [
        {
            "name": "map",
            "dataType": "MAP",
            "childFieldSpecs": {
                "key": {"name": "key", "dataType": "STRING", "fieldType": "DIMENSION"},
                "value": {"name": "value", "dataType": "STRING", "fieldType": "DIMENSION"},
            },
        }
    ],
}

SERVING = "it is about serving, not about what is in a segment"
BEFORE = "it is done to rows before they are in a segment, and no rebuild does it again"
CONSUMING = "only consuming segments are built by it"
LOADING = "it says how a server holds what it has loaded"
PLACES = "it says where segments live, and for how long"

# Path to the reason why no segment depends on it. It speaks for all below, except for what matters.
DOES_NOT_MATTER: dict[str, str] = {
    "tableName": "a stamp never travels to another table",
    "tableType": "a table cannot change it",
    "isDimTable": "servers keep such a table's rows in memory, from the same segments",
    "dimensionTableConfig": "servers keep such a table's rows in memory, from the same segments",
    "tenants": PLACES,
    "metadata": "generate.inverted.index.before.push, which every rebuild does; else for the user's own tools",
    "quota": SERVING,
    "task": "minion tasks push segments of their own",
    "routing": SERVING,
    "query": SERVING,
    "instanceAssignmentConfigMap": PLACES,
    "instancePartitionsMap": PLACES,
    "segmentAssignmentConfigMap": PLACES,
    "tierConfigs": "the tier of a segment is in its metadata; what differs by tier is in tierOverwrites",
    "tunerConfigs": "a tuner changes the config itself, when the table is made",
    "tableSamplers": SERVING,
    "segmentsConfig.completionConfig": CONSUMING,
    "segmentsConfig.crypterClassName": "it is about the archive; a table that sets it is left alone altogether",
    "segmentsConfig.deletedSegmentsRetentionPeriod": PLACES,
    "segmentsConfig.minimizeDataMovement": PLACES,
    "segmentsConfig.peerSegmentDownloadScheme": PLACES,
    "segmentsConfig.replicaGroupStrategyConfig": PLACES,
    "segmentsConfig.replicasPerPartition": PLACES,
    "segmentsConfig.replication": PLACES,
    "segmentsConfig.retentionTimeUnit": PLACES,
    "segmentsConfig.retentionTimeValue": PLACES,
    "segmentsConfig.segmentAssignmentStrategy": PLACES,
    "segmentsConfig.segmentPushFrequency": "the broker takes it for the time boundary of hybrid tables",
    "segmentsConfig.segmentPushType": "it says whether a push replaces the table's segments",
    "segmentsConfig.timeType": "nobody reads it: the unit of the time column is in the schema",
    "segmentsConfig.untrackedSegmentsDeletionBatchSize": PLACES,
    "segmentsConfig.untrackedSegmentsRetentionTimeUnit": PLACES,
    "segmentsConfig.untrackedSegmentsRetentionTimeValue": PLACES,
    "tableIndexConfig.aggregateMetrics": CONSUMING,
    "tableIndexConfig.autoGeneratedInvertedIndex": "a mark of a controller's tool, which sets invertedIndexColumns",
    "tableIndexConfig.columnMajorSegmentBuilderEnabled": CONSUMING,
    "tableIndexConfig.createInvertedIndexDuringSegmentGeneration": "every rebuild creates them",
    "tableIndexConfig.bloomFilterConfigs{}.loadOnHeap": LOADING,
    "tableIndexConfig.loadMode": LOADING,
    "tableIndexConfig.onHeapDictionaryColumns": LOADING,
    "tableIndexConfig.segmentNameGeneratorType": "a rebuilt segment keeps its name",
    "tableIndexConfig.skipSegmentPreprocess": "rebuilding preprocesses all the same",
    "tableIndexConfig.streamConfigs": CONSUMING,
    "tableIndexConfig.tierOverwrites": "those of another tier; those of the segment's tier are applied before",
    "fieldConfigList[].tierOverwrites": "those of another tier; those of the segment's tier are applied before",
    "fieldConfigList[].indexes.bloom.loadOnHeap": LOADING,
    "fieldConfigList[].indexes.dictionary.intern": LOADING,
    "fieldConfigList[].indexes.dictionary.onHeap": LOADING,
    "fieldConfigList[].indexes.text.enablePrefixSuffixMatchingInPhraseQueries": SERVING,
    "fieldConfigList[].indexes.text.luceneNRTCachingDirectoryMaxBufferSizeMB": CONSUMING,
    "fieldConfigList[].indexes.text.queryCache": SERVING,
    "fieldConfigList[].indexes.text.reuseMutableIndex": CONSUMING,
    "fieldConfigList[].indexes.text.useANDForMultiTermQueries": SERVING,
    "fieldConfigList[].properties.enablePrefixSuffixMatchingInPhraseQueries": SERVING,
    "fieldConfigList[].properties.enableQueryCacheForTextIndex": SERVING,
    "fieldConfigList[].properties.luceneNRTCachingDirectoryMaxBufferSizeMB": CONSUMING,
    "fieldConfigList[].properties.reuseMutableIndex": CONSUMING,
    "fieldConfigList[].properties.textIndexRealtimeReaderRefreshThreshold": CONSUMING,
    "fieldConfigList[].properties.useANDForMultiTermTextIndexQueries": SERVING,
    "fieldConfigList[].properties.useOnHeapDictionary": LOADING,
    "ingestionConfig.aggregationConfigs": CONSUMING,
    "ingestionConfig.batchIngestionConfig": BEFORE,
    "ingestionConfig.complexTypeConfig": BEFORE,
    "ingestionConfig.enrichmentConfigs": BEFORE,
    "ingestionConfig.filterConfig": BEFORE,
    "ingestionConfig.ingestionExceptionLogRateLimitPerMin": BEFORE,
    "ingestionConfig.maxConsecutiveRecordFetchFailuresAllowed": BEFORE,
    "ingestionConfig.retryOnSegmentBuildPrecheckFailure": CONSUMING,
    "ingestionConfig.rowTimeValueCheck": BEFORE,
    "ingestionConfig.schemaConformingTransformerConfig": BEFORE,
    "ingestionConfig.schemaConformingTransformerV2Config": BEFORE,
    "ingestionConfig.streamIngestionConfig": CONSUMING,
    "upsertConfig": "it says which rows of loaded segments count, not what is in a segment",
    "dedupConfig": "it says which rows are consumed, not what is in a segment",
    "schema.schemaName": "it names the table",
    "schema.primaryKeyColumns": "keys are looked up in the rows of loaded segments",
    "schema.dateTimeFieldSpecs[].singleValueField": "Pinot refuses any other value",
    "schema.metricFieldSpecs[].singleValueField": "Pinot refuses any other value",
    "schema.dateTimeFieldSpecs[].sampleValue": "it is there to check the format with, and is not kept",
    "schema.dimensionFieldSpecs[].defaultNullValueString": "Jackson sees a getter; the schema prints itself without",
    "schema.metricFieldSpecs[].defaultNullValueString": "Jackson sees a getter; the schema prints itself without",
    "schema.dateTimeFieldSpecs[].defaultNullValueString": "Jackson sees a getter; the schema prints itself without",
    "schema.complexFieldSpecs[].defaultNullValueString": "Jackson sees a getter; the schema prints itself without",
    "schema.complexFieldSpecs[].childFieldSpecs{}.defaultNullValueString": "Jackson sees a getter only",
    "schema.timeFieldSpec.defaultNullValueString": "Jackson sees a getter; the schema prints itself without",
    **dict.fromkeys(
        (
            f"schema.timeFieldSpec.{name}"
            for name in (
                "allowTrailingZeros",
                "dataType",
                "maxLength",
                "maxLengthExceedStrategy",
                "name",
                "notNull",
                "singleValueField",
                "virtualColumnProvider",
            )
        ),
        "the schema prints a time field without it",
    ),
}

# Section to its fields that a segment depends on.
MATTERS: dict[str, str] = {
    "dedupConfig": "dedupEnabled",
    "fieldConfigList[]": "compressionCodec encodingType indexType indexTypes name",
    "fieldConfigList[].indexes.bloom": "disabled fpp maxSizeInBytes",
    "fieldConfigList[].indexes.dictionary": "disabled useVarLengthDictionary",
    "fieldConfigList[].indexes.forward": (
        "chunkCompressionType compressionCodec configs deriveNumDocsPerChunk dictIdCompressionType disabled "
        "rawIndexWriterVersion targetDocsPerChunk targetMaxChunkSize"
    ),
    "fieldConfigList[].indexes.fst": "disabled type",
    "fieldConfigList[].indexes.h3": "disabled resolution",
    "fieldConfigList[].indexes.ifst": "disabled type",
    "fieldConfigList[].indexes.inverted": "disabled",
    "fieldConfigList[].indexes.json": (
        "disableCrossArrayUnnest disabled excludeArray excludeFields excludePaths includePaths indexPaths "
        "maxBytesSize maxLevels maxValueLength skipInvalidJson"
    ),
    "fieldConfigList[].indexes.null": "disabled",
    "fieldConfigList[].indexes.range": "disabled version",
    "fieldConfigList[].indexes.text": (
        "caseSensitive disabled docIdTranslatorMode fst luceneAnalyzerClass luceneAnalyzerClassArgTypes "
        "luceneAnalyzerClassArgs luceneMaxBufferSizeMB luceneQueryParserClass luceneUseCompoundFile rawValue "
        "stopWordsExclude stopWordsInclude storeInSegmentFile useLogByteSizeMergePolicy"
    ),
    "fieldConfigList[].indexes.vector": (
        "disabled properties vectorDimension vectorDistanceFunction vectorIndexType version"
    ),
    "fieldConfigList[].properties": (
        "caseSensitive createBloomFilter deriveNumDocsPerChunkForRawIndex forwardIndexDisabled fstType "
        "isSegmentPartitioned luceneAnalyzerClass luceneAnalyzerClassArgTypes luceneAnalyzerClassArgs "
        "luceneDocIdTranslatorMode luceneMaxBufferSizeMB luceneQueryParserClass luceneUseCompoundFile "
        "luceneUseLogByteSizeMergePolicy noRawDataForTextIndex rawIndexWriterVersion rawValueForTextIndex "
        "resolutions stopWordExclude stopWordInclude useVarLengthDictionary"
    ),
    "fieldConfigList[].timestampConfig": "granularities",
    "ingestionConfig": "continueOnError segmentTimeValueCheck",
    "ingestionConfig.transformConfigs[]": "columnName transformFunction",
    "segmentsConfig": "timeColumnName",
    "tableIndexConfig": (
        "bloomFilterColumns columnMinMaxValueGeneratorMode enableDefaultStarTree "
        "enableDynamicStarTreeCreation fstindexType invertedIndexColumns jsonIndexColumns "
        "noDictionaryCardinalityRatioThreshold noDictionaryColumns noDictionaryConfig "
        "noDictionarySizeRatioThreshold nullHandlingEnabled optimizeDictionary optimizeDictionaryForMetrics "
        "optimizeDictionaryType optimizeNoDictStatsCollection rangeIndexColumns rangeIndexVersion "
        "segmentFormatVersion sortedColumn varLengthDictionaryColumns"
    ),
    "tableIndexConfig.bloomFilterConfigs{}": "disabled fpp maxSizeInBytes",
    "tableIndexConfig.jsonIndexConfigs{}": (
        "disableCrossArrayUnnest disabled excludeArray excludeFields excludePaths includePaths indexPaths "
        "maxBytesSize maxLevels maxValueLength skipInvalidJson"
    ),
    "tableIndexConfig.multiColumnTextIndexConfig": "columns perColumnProperties properties",
    "tableIndexConfig.segmentPartitionConfig.columnPartitionMap{}": "functionConfig functionName numPartitions",
    "tableIndexConfig.starTreeIndexConfigs[]": (
        "dimensionsSplitOrder functionColumnPairs maxLeafRecords skipStarNodeCreationForDimensions"
    ),
    "tableIndexConfig.starTreeIndexConfigs[].aggregationConfigs[]": (
        "aggregationFunction columnName compressionCodec deriveNumDocsPerChunk functionParameters "
        "indexVersion targetDocsPerChunk targetMaxChunkSize"
    ),
    # Whether there is any: what a run has sorted before must not be published then.
    "upsertConfig": "mode",
    "schema": "enableColumnBasedNullHandling",
    "schema.complexFieldSpecs[]": (
        "allowTrailingZeros dataType defaultNullValue maxLength maxLengthExceedStrategy name notNull "
        "singleValueField transformFunction virtualColumnProvider"
    ),
    "schema.complexFieldSpecs[].childFieldSpecs{}": (
        "allowTrailingZeros dataType defaultNullValue fieldType maxLength maxLengthExceedStrategy name "
        "notNull singleValueField transformFunction virtualColumnProvider"
    ),
    "schema.dateTimeFieldSpecs[]": (
        "allowTrailingZeros dataType defaultNullValue format granularity maxLength maxLengthExceedStrategy "
        "name notNull transformFunction virtualColumnProvider"
    ),
    "schema.dimensionFieldSpecs[]": (
        "allowTrailingZeros dataType defaultNullValue maxLength maxLengthExceedStrategy name notNull "
        "singleValueField transformFunction virtualColumnProvider"
    ),
    "schema.metricFieldSpecs[]": (
        "allowTrailingZeros dataType defaultNullValue maxLength maxLengthExceedStrategy name notNull "
        "transformFunction virtualColumnProvider"
    ),
    "schema.timeFieldSpec": "defaultNullValue transformFunction",
    "schema.timeFieldSpec.incomingGranularitySpec": "dataType name timeFormat timeType timeUnitSize timeunitSize",
    "schema.timeFieldSpec.outgoingGranularitySpec": "dataType name timeFormat timeType timeUnitSize timeunitSize",
}

MATTERING = {f"{section}.{name}" for section, names in MATTERS.items() for name in names.split()}

# Other values for fields that do not take just any.
OTHER_VALUES: dict[str, Any] = {
    "tableName": "other_OFFLINE",
    "tableType": "REALTIME",
    "instanceAssignmentConfigMap{}.partitionSelector": "MIRROR_SERVER_SET_PARTITION_SELECTOR",
    "instancePartitionsMap": {"OFFLINE": "some"},
    "quota.maxQueriesPerSecond": "100",
    "quota.storage": "200G",
    "segmentsConfig.timeType": "DAYS",
    "tableIndexConfig.starTreeIndexConfigs[].aggregationConfigs[].targetMaxChunkSize": "2M",
    "schema.complexFieldSpecs[].childFieldSpecs{}.singleValueField": False,
    "schema.complexFieldSpecs[].dataType": "LIST",
    "schema.complexFieldSpecs[].name": "another_map",
    "schema.complexFieldSpecs[].singleValueField": False,
    "schema.dateTimeFieldSpecs[].defaultNullValue": 7,
    "schema.dateTimeFieldSpecs[].format": "EPOCH|SECONDS",
    "schema.dateTimeFieldSpecs[].granularity": "1:DAYS",
    "schema.dateTimeFieldSpecs[].name": "another_ts",
    "schema.dateTimeFieldSpecs[].singleValueField": True,
    "schema.dimensionFieldSpecs[].singleValueField": False,
    "schema.metricFieldSpecs[].defaultNullValue": 7,
    "schema.metricFieldSpecs[].name": "another_price",
    "schema.metricFieldSpecs[].singleValueField": True,
    "schema.timeFieldSpec.defaultNullValue": 7,
    "schema.timeFieldSpec.incomingGranularitySpec.timeFormat": "SIMPLE_DATE_FORMAT:yyyy",
    "schema.timeFieldSpec.outgoingGranularitySpec.name": "another_day",
    "schema.timeFieldSpec.outgoingGranularitySpec.timeFormat": "SIMPLE_DATE_FORMAT:yyyy",
}

# Lists that Pinot reads as sets, and lists whose order is part of what they say.
SETS = (
    "fieldConfigList[].indexes.json.excludeFields",
    "fieldConfigList[].indexes.json.indexPaths",
    "fieldConfigList[].timestampConfig.granularities",
    "tableIndexConfig.bloomFilterColumns",
    "tableIndexConfig.invertedIndexColumns",
    "tableIndexConfig.jsonIndexColumns",
    "tableIndexConfig.jsonIndexConfigs{}.excludePaths",
    "tableIndexConfig.noDictionaryColumns",
    "tableIndexConfig.rangeIndexColumns",
    "tableIndexConfig.starTreeIndexConfigs[].functionColumnPairs",
    "tableIndexConfig.starTreeIndexConfigs[].skipStarNodeCreationForDimensions",
    "tableIndexConfig.varLengthDictionaryColumns",
)
ORDERED = (
    "tableIndexConfig.multiColumnTextIndexConfig.columns",
    "tableIndexConfig.sortedColumn",
    "tableIndexConfig.starTreeIndexConfigs[].dimensionsSplitOrder",
)


def reach(document: Any, parents: list[str]) -> dict[str, Any]:
    """The section at the end of a path; what is not there yet is put there, empty."""
    for parent in parents:
        name = parent.rstrip("[]{}")
        if parent.endswith("[]"):
            if not document.get(name):
                document[name] = [{}]
            document = document[name][0]
        elif parent.endswith("{}"):
            members = document.setdefault(name, {})
            document = members[next(iter(members))] if members else members.setdefault("some", {})
        else:
            if not isinstance(document.get(name), dict):
                document[name] = {}
            document = document[name]
    result: dict[str, Any] = document
    return result
