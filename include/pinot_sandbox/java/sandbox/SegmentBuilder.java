package sandbox;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MappingIterator;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.commons.io.FileUtils;
import org.apache.pinot.common.utils.TarCompressionUtils;
import org.apache.pinot.segment.local.segment.creator.impl.SegmentIndexCreationDriverImpl;
import org.apache.pinot.segment.spi.creator.SegmentGeneratorConfig;
import org.apache.pinot.spi.config.table.TableConfig;
import org.apache.pinot.spi.data.Schema;
import org.apache.pinot.spi.data.readers.GenericRow;
import org.apache.pinot.spi.data.readers.RecordReader;
import org.apache.pinot.spi.data.readers.RecordReaderConfig;
import org.apache.pinot.spi.utils.JsonUtils;

/** Builds segments as an ingestion job does, with Pinot's own creation driver, from files of one JSON object a line. */
final class SegmentBuilder {
  private SegmentBuilder() {
  }

  /** Builds one segment and packs it. Returns the archive's path: {@code <outDir>/<segmentName>.tar.gz}. */
  static String build(JsonNode args)
      throws Exception {
    TableConfig tableConfig = JsonUtils.jsonNodeToObject(args.get("tableConfig"), TableConfig.class);
    Schema schema = Schema.fromString(args.get("schema").toString());
    Path outDir = Files.createDirectories(Path.of(args.get("outDir").asText()));
    String name = args.get("segmentName").asText();
    SegmentGeneratorConfig config = new SegmentGeneratorConfig(tableConfig, schema);
    config.setOutDir(outDir.toString());
    config.setSegmentName(name);
    File segment = outDir.resolve(name).toFile();
    try (JsonLines rows = new JsonLines(new File(args.get("rows").asText()))) {
      SegmentIndexCreationDriverImpl driver = new SegmentIndexCreationDriverImpl();
      driver.init(config, rows);
      driver.build();
      File archive = outDir.resolve(name + TarCompressionUtils.TAR_GZ_FILE_EXTENSION).toFile();
      TarCompressionUtils.createCompressedTarFile(segment, archive);
      return archive.getPath();
    } finally {
      FileUtils.deleteQuietly(segment);
    }
  }

  /** Puts a row that was read from JSON into Pinot's. */
  static void fill(GenericRow row, Map<String, Object> values) {
    values.forEach((column, value) -> row.putValue(column, value instanceof List<?> list ? list.toArray() : value));
  }

  /** Reads rows from a file of one JSON object a line. A column that a row does not name is null there. */
  private static final class JsonLines implements RecordReader {
    private final File _file;
    private transient MappingIterator<Map<String, Object>> _rows;

    JsonLines(File file)
        throws IOException {
      _file = file;
      rewind();
    }

    @Override
    public void init(File file, Set<String> fields, RecordReaderConfig config) {
      // The driver is given a reader that is ready.
    }

    @Override
    public boolean hasNext() {
      return _rows.hasNext();
    }

    @Override
    public GenericRow next(GenericRow row)
        throws IOException {
      fill(row, _rows.nextValue());
      return row;
    }

    @Override
    public void rewind()
        throws IOException {
      close();
      _rows = JsonUtils.DEFAULT_READER.forType(new TypeReference<Map<String, Object>>() {
      }).readValues(_file);
    }

    @Override
    public void close()
        throws IOException {
      if (_rows != null) {
        _rows.close();
      }
    }
  }
}
