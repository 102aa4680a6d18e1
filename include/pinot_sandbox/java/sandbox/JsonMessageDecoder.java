package sandbox;

import com.fasterxml.jackson.core.type.TypeReference;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.Set;
import org.apache.pinot.spi.data.readers.GenericRow;
import org.apache.pinot.spi.stream.StreamMessageDecoder;
import org.apache.pinot.spi.utils.JsonUtils;

/** Reads a message that is one JSON object: column to value. A column that it does not name is null there. */
public final class JsonMessageDecoder implements StreamMessageDecoder<byte[]> {
  private static final TypeReference<Map<String, Object>> ROW = new TypeReference<>() {
  };

  @Override
  public void init(Map<String, String> properties, Set<String> fields, String topic) {
    // Columns that the schema does not have are dropped later.
  }

  @Override
  public GenericRow decode(byte[] message, GenericRow row) {
    return decode(message, 0, message.length, row);
  }

  @Override
  public GenericRow decode(byte[] message, int offset, int length, GenericRow row) {
    try {
      SegmentBuilder.fill(row, JsonUtils.DEFAULT_READER.forType(ROW).readValue(message, offset, length));
      return row;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
