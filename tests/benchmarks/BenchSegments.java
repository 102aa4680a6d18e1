import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.MappingIterator;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.pinot.segment.local.segment.creator.impl.SegmentIndexCreationDriverImpl;
import org.apache.pinot.segment.spi.creator.SegmentGeneratorConfig;
import org.apache.pinot.spi.config.table.TableConfig;
import org.apache.pinot.spi.data.FieldSpec;
import org.apache.pinot.spi.data.Schema;
import org.apache.pinot.spi.data.readers.GenericRow;
import org.apache.pinot.spi.data.readers.RecordReader;
import org.apache.pinot.spi.data.readers.RecordReaderConfig;
import org.apache.pinot.spi.utils.JsonUtils;

/**
 * Builds the segments that the benchmarks run on, with Pinot's own library: always the same for the same number.
 *
 * <p>{@code java -cp 'jars/*' BenchSegments.java OUT SEGMENTS ROWS TABLE_CONFIG.json SCHEMA.json [ROWS.jsonl]}: made-up
 * rows, or those of a file of one JSON object a line, the same in every segment.
 */
public final class BenchSegments {
  public static void main(String[] args)
      throws Exception {
    int segments = Integer.parseInt(args[1]);
    int rows = Integer.parseInt(args[2]);
    String tableConfig = Files.readString(Path.of(args[3]));
    String schema = Files.readString(Path.of(args[4]));
    File source = args.length > 5 ? new File(args[5]) : null;
    ExecutorService workers = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors());
    List<Future<?>> built = new ArrayList<>();
    for (int number = 0; number < segments; number++) {
      int seed = number;
      built.add(workers.submit(() -> {
        build(args[0], seed, rows, tableConfig, schema, source);
        return null;
      }));
    }
    workers.shutdown();
    for (Future<?> one : built) {
      one.get();
    }
  }

  private static void build(String out, int seed, int rows, String tableConfig, String schema, File source)
      throws Exception {
    Schema fields = Schema.fromString(schema);
    SegmentGeneratorConfig config =
        new SegmentGeneratorConfig(JsonUtils.stringToObject(tableConfig, TableConfig.class), fields);
    config.setOutDir(out);
    config.setSegmentName(String.format("bench_%03d", seed));
    SegmentIndexCreationDriverImpl driver = new SegmentIndexCreationDriverImpl();
    driver.init(config, source == null ? new MadeUpRows(fields, seed, rows) : new FileRows(source));
    driver.build();
  }

  /** Rows of a file. A column that a row does not name is null there. */
  private static final class FileRows implements RecordReader {
    private final File _file;
    private MappingIterator<Map<String, Object>> _rows;

    FileRows(File file)
        throws IOException {
      _file = file;
      rewind();
    }

    @Override
    public void init(File file, Set<String> fields, RecordReaderConfig config) {
    }

    @Override
    public boolean hasNext() {
      return _rows.hasNext();
    }

    @Override
    public GenericRow next(GenericRow row)
        throws IOException {
      _rows.nextValue().forEach(row::putValue);
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

  /** Rows by the column's name: {@code <name>_<number of different values>}, metrics at random, time rising. */
  private static final class MadeUpRows implements RecordReader {
    private final Schema _schema;
    private final int _seed;
    private final int _rows;
    private SplittableRandom _random;
    private int _next;

    MadeUpRows(Schema schema, int seed, int rows) {
      _schema = schema;
      _seed = seed;
      _rows = rows;
      rewind();
    }

    @Override
    public void init(File file, Set<String> fields, RecordReaderConfig config) {
    }

    @Override
    public boolean hasNext() {
      return _next < _rows;
    }

    @Override
    public GenericRow next(GenericRow row) {
      for (FieldSpec field : _schema.getAllFieldSpecs()) {
        row.putValue(field.getName(), value(field));
      }
      _next++;
      return row;
    }

    private Object value(FieldSpec field) {
      String name = field.getName();
      if (field.getFieldType() == FieldSpec.FieldType.DATE_TIME) {
        return 1_700_000_000_000L + (long) _seed * _rows * 10 + _next * 10L;
      }
      int different = Integer.parseInt(name.substring(name.lastIndexOf('_') + 1));
      int one = different == 0 ? 0 : _random.nextInt(different);
      switch (field.getDataType()) {
        case INT:
          return one;
        case LONG:
          return 1_000_000_000L + one;
        case FLOAT:
          return _random.nextInt(1_000_000) / 1000f;
        case DOUBLE:
          return _random.nextInt(100_000_000) / 1000d;
        default:
          return name + "-" + one;
      }
    }

    @Override
    public void rewind() {
      _random = new SplittableRandom(_seed);
      _next = 0;
    }

    @Override
    public void close()
        throws IOException {
    }
  }
}
